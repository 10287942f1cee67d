//! Where the database is, and whether the way to it is encrypted.

use super::Error;
use std::{net::IpAddr, str::FromStr as _, time::Duration};
use tokio_postgres::config::{Config, Host, SslMode};

/// Time to connect.
const CONNECT: Duration = Duration::from_secs(15);
/// Unanswered bytes after which a connection counts as lost, on systems that know it.
const UNANSWERED: Duration = Duration::from_secs(30);

/// The address of a database: `postgres://USER@HOST:PORT/DATABASE`, or words as libpq has them.
///
/// A database that is not on this machine is asked over TLS, unless the address says `sslmode=disable`, and its
/// certificate has to be good for its name. It never shows its password.
#[derive(Clone)]
pub struct Address {
    pub(super) config: Config,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Address").field(&self.shown()).finish()
    }
}

impl Address {
    /// Reads an address. The password is given apart, since who sees the processes of a machine sees their addresses.
    ///
    /// # Errors
    ///
    /// It cannot be read, names no host or user, or has a password in it.
    pub fn new(text: &str, password: Option<&str>) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Config(format!("the address of the database {why}"));
        // What tokio-postgres says may repeat what was written.
        let mut config = Config::from_str(text).map_err(|_| wrong("cannot be read"))?;
        if config.get_password().is_some() {
            return Err(wrong("has a password in it, which every user of this machine can see"));
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(wrong("names no host"));
        }
        if config.get_user().is_none() {
            return Err(wrong("names no user"));
        }
        if let Some(password) = password {
            config.password(password);
        }
        let local = config.get_hosts().iter().all(is_local)
            && config.get_hostaddrs().iter().all(IpAddr::is_loopback);
        if config.get_ssl_mode() == SslMode::Prefer {
            // Whoever is in between could say that there is no TLS.
            config.ssl_mode(if local { SslMode::Disable } else { SslMode::Require });
        }
        config.connect_timeout(CONNECT);
        config.tcp_user_timeout(UNANSWERED);
        Ok(Self { config })
    }

    /// The hosts and the database, without user and password.
    pub fn shown(&self) -> String {
        let ports = self.config.get_ports();
        let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        let host = |(at, host): (usize, &Host)| match host {
            Host::Tcp(name) => format!("{name}:{}", port(at)),
            #[cfg(unix)]
            Host::Unix(path) => format!("{}:{}", path.display(), port(at)),
        };
        let hosts: Vec<_> = self.config.get_hosts().iter().enumerate().map(host).collect();
        let user = self.config.get_user().unwrap_or_default();
        format!("{}/{}", hosts.join(","), self.config.get_dbname().unwrap_or(user))
    }
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_is_asked_over_tls_unless_the_address_says_otherwise() {
        for (text, mode) in [
            ("postgres://u@127.0.0.1/d", SslMode::Disable),
            ("postgres://u@localhost:5433/d", SslMode::Disable),
            ("postgres://u@[::1]/d", SslMode::Disable),
            ("postgres://u@/d?host=/run/postgresql", SslMode::Disable),
            ("host=/run/postgresql user=u", SslMode::Disable),
            ("postgres://u@db.example/d", SslMode::Require),
            ("postgres://u@localhost,db.example/d", SslMode::Require),
            ("postgres://u@10.0.0.1/d?sslmode=prefer", SslMode::Require),
            ("postgres://u@10.0.0.1/d?sslmode=disable", SslMode::Disable),
            ("postgres://u@127.0.0.1/d?sslmode=require", SslMode::Require),
        ] {
            assert_eq!(Address::new(text, None).unwrap().config.get_ssl_mode(), mode, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_an_address_is_refused_and_no_password_is_shown() {
        for (text, words) in [
            ("mysql://u@h/d", "cannot be read"),
            ("postgres://u:hunter2@h/d", "has a password in it"),
            ("host=h user=u password=hunter2", "has a password in it"),
            ("postgres://u@/d", "names no host"),
            ("postgres://h/d", "names no user"),
            ("", "names no host"),
        ] {
            let refused = Address::new(text, None).unwrap_err().to_string();
            assert!(refused.contains(words), "{text}: {refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
        let address = Address::new("postgres://u@db.example:5433/d", Some("hunter2")).unwrap();
        assert_eq!(address.shown(), "db.example:5433/d");
        assert_eq!(address.config.get_password(), Some(&b"hunter2"[..]));
        assert!(!format!("{address:?}").contains("hunter2"));
    }
}
