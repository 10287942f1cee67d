//! A dashboard for Grafana, made of the table.

use super::table::{Draw, Row, TABLE, Unit, VARIABLES, served};
use serde_json::{Value, json};

/// Of the grid that Grafana lays panels out on.
const COLUMNS: u64 = 24;
const WIDTH: u64 = 8;
const HEIGHT: u64 = 7;

/// Who may be chosen: whoever runs has tasks.
const INSTANCES: &str = "label_values(runtime_tasks_running, instance)";

/// The dashboard, to be imported or provisioned.
pub(super) fn dashboard() -> Value {
    let mut panels = Vec::new();
    let (mut x, mut y, mut group) = (0, 0, "");
    for rows in TABLE.chunk_by(|one, next| (one.group, one.panel) == (next.group, next.panel)) {
        let Some(first) = rows.first() else { continue };
        let id = panels.len() + 1;
        if first.group != group {
            group = first.group;
            y += if x == 0 { 0 } else { HEIGHT };
            panels.push(json!({
                "type": "row", "id": id, "title": group, "collapsed": false, "panels": [],
                "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
            }));
            (x, y) = (0, y + 1);
        }
        panels.push(panel(panels.len() + 1, rows, (x, y)));
        x += WIDTH;
        if x == COLUMNS {
            (x, y) = (0, y + HEIGHT);
        }
    }
    let mut variables = vec![
        json!({
            "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus",
        }),
        json!({
            "name": "instance", "label": "Instance", "type": "query", "datasource": source(),
            "query": INSTANCES, "definition": INSTANCES, "refresh": 2, "sort": 1,
            "multi": true, "includeAll": true, "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        }),
    ];
    variables.extend(VARIABLES.map(|(name, label, values)| choice(name, label, values)));
    json!({
        "uid": "tidewatch",
        "title": "Tidewatch",
        "tags": ["tidewatch"],
        "schemaVersion": 39,
        "editable": true,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "10s",
        "timezone": "browser",
        "templating": {"list": variables},
        "panels": panels,
    })
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// A variable that is one of `values`.
fn choice(name: &str, label: &str, values: &[&str]) -> Value {
    let option =
        |value: &str, selected| json!({"text": value, "value": value, "selected": selected});
    let options: Vec<_> =
        values.iter().enumerate().map(|(at, value)| option(value, at == 0)).collect();
    json!({
        "name": name, "label": label, "type": "custom", "query": values.join(","),
        "options": options, "current": options.first(), "multi": false, "includeAll": false,
    })
}

fn panel(id: usize, rows: &[Row], (x, y): (u64, u64)) -> Value {
    let metrics = rows.iter().flat_map(|row| row.metrics.iter().map(move |name| (row.draw, *name)));
    let targets: Vec<_> = metrics
        .enumerate()
        .map(|(at, (draw, name))| {
            json!({
                "refId": refid(at), "datasource": source(), "expr": expression(draw, name), "legendFormat": "__auto",
            })
        })
        .collect();
    let unit = rows.first().map_or(Unit::Count, |row| row.unit);
    let rate = rows.first().is_some_and(|row| row.draw == Draw::Rate);
    let (unit, steps) = match (unit, rate) {
        (Unit::Count, false) => ("none", false),
        (Unit::Count, true) => ("cps", false),
        (Unit::Seconds, _) => ("s", false),
        (Unit::Bytes, false) => ("bytes", false),
        (Unit::Bytes, true) => ("Bps", false),
        (Unit::Switch, _) => ("bool", true),
    };
    let shape = if steps { "stepAfter" } else { "linear" };
    json!({
        "type": "timeseries",
        "id": id,
        "title": rows.first().map(|row| row.panel),
        "datasource": source(),
        "gridPos": {"x": x, "y": y, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {
            "defaults": {"unit": unit, "custom": {"lineInterpolation": shape, "showPoints": "never"}},
            "overrides": [],
        },
        "options": {
            "legend": {"showLegend": true, "displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": targets,
    })
}

/// A to Z, then AA.
fn refid(at: usize) -> String {
    let letter = |at: usize| char::from(b'A' + u8::try_from(at % 26).unwrap_or_default());
    match at / 26 {
        0 => letter(at).into(),
        more => [letter(more - 1), letter(at)].iter().collect(),
    }
}

/// What is asked of Prometheus.
fn expression(draw: Draw, metric: &str) -> String {
    let name = VARIABLES.iter().fold(served(metric), |name, (variable, ..)| {
        name.replace(&format!("${variable}_"), &format!("${{{variable}}}_"))
    });
    let which = r#"{instance=~"$instance"}"#;
    match draw {
        Draw::Value => format!("{name}{which}"),
        Draw::Rate => format!("rate({name}_total{which}[$__rate_interval])"),
        Draw::Age => format!("time() - ({name}{which} > 0)"),
        Draw::P99 => format!(
            "histogram_quantile(0.99, sum by (instance, le) (rate({name}_bucket{which}[$__rate_interval])))"
        ),
        Draw::P99Now => {
            format!("histogram_quantile(0.99, sum by (instance, le) ({name}_bucket{which}))")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn panels_have_room_and_names_of_their_own() {
        let dashboard = dashboard();
        let panels = dashboard["panels"].as_array().unwrap();
        let mut taken = BTreeSet::new();
        for (at, panel) in panels.iter().enumerate() {
            assert_eq!(panel["id"], at + 1);
            let [x, y, w, h] =
                ["x", "y", "w", "h"].map(|name| panel["gridPos"][name].as_u64().unwrap());
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(cell.0 < COLUMNS && taken.insert(cell), "{panel}");
            }
            let targets = panel["targets"].as_array().map_or(&[][..], Vec::as_slice);
            let ids: BTreeSet<_> = targets.iter().map(|target| target["refId"].as_str()).collect();
            assert_eq!(ids.len(), targets.len(), "{panel}");
        }
    }

    #[test]
    fn a_metric_is_in_the_table_once() {
        let mut seen = BTreeSet::new();
        for name in TABLE.iter().flat_map(|row| row.metrics) {
            assert!(seen.insert(name), "{name}");
        }
    }
}
