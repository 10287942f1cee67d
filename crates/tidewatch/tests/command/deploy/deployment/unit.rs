//! A unit of systemd.

use std::time::Duration;

/// Its settings in order: section, name, value.
#[derive(Debug)]
pub(crate) struct Unit(Vec<(String, String, String)>);

impl Unit {
    pub(crate) fn read(text: &str) -> Self {
        let (mut section, mut settings) = (String::new(), Vec::new());
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                name.clone_into(&mut section);
                continue;
            }
            let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
            settings.push((section.clone(), name.to_owned(), value.to_owned()));
        }
        Self(settings)
    }

    /// The setting that is there once.
    pub(crate) fn get(&self, section: &str, name: &str) -> &str {
        let all: Vec<_> = self.0.iter().filter(|(of, is, _)| of == section && is == name).collect();
        assert_eq!(all.len(), 1, "{section} {name}");
        &all[0].2
    }

    /// One that is a time.
    pub(crate) fn duration(&self, section: &str, name: &str) -> Duration {
        duration(self.get(section, name))
    }
}

/// `10s` and the like, as systemd and compose files have them.
pub(crate) fn duration(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len() - 1);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => panic!("{text}"),
    };
    Duration::from_secs(number.parse::<u64>().unwrap() * unit)
}
