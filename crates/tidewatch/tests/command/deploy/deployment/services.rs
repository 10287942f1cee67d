//! Services that run beside each other: what a compose file says.

use super::{Place, unit::duration};
use serde::Deserialize;
use serde_yaml::Value;
use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

/// One service. What is not here is not known to the test, and refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    pub(crate) image: String,
    pub(crate) build: Option<Build>,
    pub(crate) command: Vec<String>,
    pub(crate) restart: String,
    pub(crate) stop_grace_period: String,
    pub(crate) read_only: bool,
    pub(crate) cap_drop: Vec<String>,
    pub(crate) security_opt: Vec<String>,
    #[allow(dead_code, reason = "a process of the test has what the test has")]
    pub(crate) ulimits: Option<BTreeMap<String, u64>>,
    pub(crate) healthcheck: Option<Healthcheck>,
    #[serde(default)]
    pub(crate) ports: Vec<String>,
    pub(crate) volumes: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Build {
    pub(crate) context: PathBuf,
    pub(crate) dockerfile: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Healthcheck {
    pub(crate) test: Vec<String>,
    pub(crate) interval: String,
    pub(crate) timeout: String,
}

#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) all: BTreeMap<String, Service>,
    pub(crate) volumes: Vec<String>,
}

impl Services {
    pub(crate) fn read(text: &str) -> Self {
        let mut file: Value = serde_yaml::from_str(text).unwrap();
        file.apply_merge().unwrap();
        let services = serde_yaml::from_value(file["services"].clone());
        let volumes = file["volumes"].as_mapping().unwrap().keys();
        let volumes = volumes.map(|name| name.as_str().unwrap().to_owned()).collect();
        Self { all: services.unwrap_or_else(|error| panic!("{error}")), volumes }
    }

    /// Names of the services of `image`, in order.
    pub(crate) fn of(&self, image: &str) -> Vec<&str> {
        let of = self.all.iter().filter(|(_, service)| service.image == image);
        of.map(|(name, _)| name.as_str()).collect()
    }

    /// How service `name` is started in `place`, with `configuration` in place of that of `deploy/`.
    pub(crate) fn arguments(&self, place: &Place, name: &str, configuration: &str) -> Vec<String> {
        let service = &self.all[name];
        let mounted = service.volumes.iter().enumerate().map(|(number, volume)| {
            let mut parts = volume.split(':');
            let (from, to) = (parts.next().unwrap(), parts.next().unwrap().to_owned());
            let here = place.path(name, &format!("mounted-{number}"));
            match from.strip_prefix("./") {
                Some(_) => assert_eq!(parts.next(), Some("ro"), "{volume}"),
                None => assert!(self.volumes.iter().any(|known| known == from), "{volume}"),
            }
            (from.strip_prefix("./").map(str::to_owned), (to, here))
        });
        let (files, paths): (Vec<_>, Vec<_>) = mounted.unzip();
        for (from, (_, here)) in files.iter().zip(&paths) {
            let Some(from) = from else { continue };
            let text = super::text(from);
            let text = match from.as_str() {
                "tidewatch.toml" => configuration.to_owned(),
                _ => place.put(name, &paths, &text),
            };
            fs::write(here, text).unwrap();
        }
        service.command.iter().map(|word| place.put(name, &paths, word)).collect()
    }

    /// What says whether service `name` is healthy, in `place`.
    pub(crate) fn health(&self, place: &Place, name: &str) -> Vec<String> {
        let check = self.all[name].healthcheck.as_ref().expect("a health check");
        assert!(duration(&check.timeout) < duration(&check.interval));
        let (how, words) = check.test.split_first().unwrap();
        assert_eq!(how, "CMD", "no shell is between");
        words.iter().map(|word| place.put(name, &[], word)).collect()
    }

    /// How long service `name` has to end.
    pub(crate) fn grace(&self, name: &str) -> Duration {
        duration(&self.all[name].stop_grace_period)
    }
}
