//! Hosts on one machine, each in a network namespace of its own, which can be cut off from each other.

use crate::support::nats::skipped;
use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

/// Some hosts. They are gone with this.
pub(crate) struct Hosts {
    /// What the names on this machine begin with.
    name: String,
    /// The third byte of each address.
    network: u8,
    count: u8,
}

fn ip(words: &str) -> Result<(), String> {
    let output = match Command::new("ip").args(words.split(' ')).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err("ip is missing: apt-get install iproute2".into());
        }
        output => output.unwrap(),
    };
    let said = || format!("ip {words}: {}", String::from_utf8_lossy(&output.stderr).trim());
    if output.status.success() { Ok(()) } else { Err(said()) }
}

impl Hosts {
    /// So many. `None`, after it was said that the test is skipped, where they cannot be made.
    pub(crate) fn start(count: u8) -> Option<Self> {
        // No two on this machine are called the same.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (id, next) = (process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (name, network) = (format!("tw{id}{next}"), ((id + next) % 250) as u8);
        let hosts = Self { name, network, count };
        match hosts.make() {
            Ok(()) => Some(hosts),
            Err(why) => {
                skipped(&why);
                None
            }
        }
    }

    fn make(&self) -> Result<(), String> {
        let bridge = self.bridge();
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("addr add {}/24 dev {bridge}", self.outside()))?;
        ip(&format!("link set {bridge} up"))?;
        for host in 0..self.count {
            let (name, link, address) = (self.host(host), self.link(host), self.address(host));
            ip(&format!("netns add {name}"))?;
            ip(&format!("link add {link} type veth peer name eth0 netns {name}"))?;
            ip(&format!("link set {link} master {bridge} up"))?;
            ip(&format!("-n {name} addr add {address}/24 dev eth0"))?;
            ip(&format!("-n {name} link set eth0 up"))?;
            ip(&format!("-n {name} link set lo up"))?;
        }
        Ok(())
    }

    fn bridge(&self) -> String {
        format!("{}b", self.name)
    }

    /// The end of the connection of `host` that is on this machine.
    fn link(&self, host: u8) -> String {
        format!("{}v{host}", self.name)
    }

    /// The namespace of `host`.
    fn host(&self, host: u8) -> String {
        format!("{}h{host}", self.name)
    }

    /// What runs a program at `host`, before the program.
    pub(crate) fn at(&self, host: u8) -> [String; 4] {
        ["ip".into(), "netns".into(), "exec".into(), self.host(host)]
    }

    /// The address of `host`.
    pub(crate) const fn address(&self, host: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 213, self.network, host + 2))
    }

    /// Where every host reaches the test, whichever are cut off from each other.
    pub(crate) const fn outside(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 213, self.network, 1))
    }

    /// From now on `host` and the others hear nothing of each other: neither side is told.
    pub(crate) fn cut_off(&self, host: u8) {
        self.between(host, "add");
    }

    /// Takes that back.
    pub(crate) fn join(&self, host: u8) {
        self.between(host, "del");
    }

    fn between(&self, host: u8, change: &str) {
        for other in (0..self.count).filter(|other| *other != host) {
            for (from, to) in [(host, other), (other, host)] {
                let (from, to) = (self.host(from), self.address(to));
                ip(&format!("-n {from} route {change} blackhole {to}/32")).unwrap();
            }
        }
    }

    /// Passes connections from any host on to `server`, which this machine alone can reach. Says where.
    pub(crate) fn pass_on(&self, server: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind((self.outside(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for host in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { continue };
                let ways = [(&host, &server), (&server, &host)]
                    .map(|(from, to)| (from.try_clone().unwrap(), to.try_clone().unwrap()));
                for (mut from, mut to) in ways {
                    thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        address
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = ip(&format!("link del {}", self.bridge()));
        for host in 0..self.count {
            // What still runs there would keep it.
            let name = self.host(host);
            if let Ok(pids) = Command::new("ip").args(["netns", "pids", &name]).output() {
                let pids = String::from_utf8_lossy(&pids.stdout).into_owned();
                let _ = Command::new("kill").arg("-9").args(pids.split_whitespace()).output();
            }
            let _ = ip(&format!("netns del {name}"));
            // It is kept for a while by connections that ended.
            let _ = ip(&format!("link del {}", self.link(host)));
        }
    }
}
