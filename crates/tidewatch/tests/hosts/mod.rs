//! Hosts on one machine, each in a network namespace of its own, which can be cut off from each other.

use std::{
    io::{self, ErrorKind, Write as _},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{self, Command},
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

fn ip(words: &str) -> io::Result<Result<(), String>> {
    let output = Command::new("ip").args(words.split(' ')).output()?;
    let said = || format!("ip {words}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(if output.status.success() { Ok(()) } else { Err(said()) })
}

fn done(words: &str) {
    ip(words).unwrap().unwrap();
}

impl Hosts {
    /// So many. `None`, after it was said that the test is skipped, where no namespace can be made.
    pub(crate) fn start(count: u8) -> Option<Self> {
        let id = process::id();
        let hosts = Self { name: format!("tw{id}"), network: (id % 250) as u8, count };
        let made = match ip(&format!("netns add {}", hosts.host(0))) {
            Ok(made) => made,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err("ip is missing: apt-get install iproute2".into())
            }
            Err(error) => panic!("{error}"),
        };
        if let Err(why) = made {
            // The unfinished one has nothing to take away.
            std::mem::forget(hosts);
            let thread = thread::current();
            let line = format!("\nSKIPPED {}: {why}\n", thread.name().unwrap_or("a test"));
            io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        }
        let bridge = hosts.bridge();
        done(&format!("link add {bridge} type bridge"));
        done(&format!("addr add {}/24 dev {bridge}", hosts.outside()));
        done(&format!("link set {bridge} up"));
        for host in 0..count {
            let (name, address) = (hosts.host(host), hosts.address(host));
            if host > 0 {
                done(&format!("netns add {name}"));
            }
            let link = hosts.link(host);
            done(&format!("link add {link} type veth peer name eth0 netns {name}"));
            done(&format!("link set {link} master {bridge} up"));
            done(&format!("-n {name} addr add {address}/24 dev eth0"));
            done(&format!("-n {name} link set eth0 up"));
            done(&format!("-n {name} link set lo up"));
        }
        Some(hosts)
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
                done(&format!("-n {from} route {change} blackhole {to}/32"));
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
