//! `deploy/`: what is described there is started, as processes, by what stands there.

mod deployment;

use crate::support::{
    nats::{NEWEST, Server, installed},
    node::Node,
    published::Read,
    run::{END, Run, signal},
    scraped::{get, metrics},
};
use commonware_formatting::from_hex;
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, tokio};
use deployment::{
    Place, command, configuration, image::Image, repository, services::Services, text, unit::Unit,
};
use std::{
    fs,
    io::{ErrorKind, Write as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    process,
    time::{Duration, Instant},
};
use tidewatch_core::Height;
use tidewatch_devnet::{Config, Devnet};
use tidewatch_nats::Cluster as _;
use tidewatch_sources::alto;

const TICK: Duration = Duration::from_millis(50);

/// How long engines leave a container that was told to end, unless they are told otherwise.
const GRACE: Duration = Duration::from_secs(10);

/// Where a follower of `deploy/` serves.
const SERVED: u16 = 9200;

/// Whether `words` end well; nothing, after it was said, where there is no such program.
fn succeeds(words: &[String]) -> Option<bool> {
    match process::Command::new(&words[0]).args(&words[1..]).output() {
        Ok(output) => Some(output.status.success()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let line = format!("\nSKIPPED a part: {} is not here\n", words[0]);
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            None
        }
        Err(error) => panic!("{words:?}: {error}"),
    }
}

/// Waits until `holds`.
fn becomes(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < END, "never: {what}");
        std::thread::sleep(TICK);
    }
}

/// Whether `GET` of `path` at `address` is answered with 200.
fn answers(address: &str, path: &str) -> bool {
    get(address, path).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

#[test]
fn the_unit_starts_the_command_is_taken_by_systemd_and_is_not_restarted_for_what_was_typed() {
    let node = Node::serve(31_337, 10);
    let (place, unit) = (Place::new(1, &["machine"]), Unit::read(&text("tidewatch.service")));
    let starts = unit.get("Service", "ExecStart");
    let credentials = place.path("machine", "credentials");
    fs::create_dir(&credentials).unwrap();
    let (credential, _) = unit.get("Service", "LoadCredential").split_once(':').unwrap();
    let configured = credentials.join(credential);
    fs::write(&configured, configuration(&node.address.to_string())).unwrap();
    let paths = [
        ("${CREDENTIALS_DIRECTORY}".to_owned(), credentials),
        ("${STATE_DIRECTORY}".to_owned(), place.path("machine", "state")),
    ];
    let mut words = starts.split(' ').map(|word| place.put("machine", &paths, word));
    let program = words.next().unwrap();
    assert!(Path::new(&program).ends_with(env!("CARGO_PKG_NAME")));
    let words: Vec<_> = words.collect();

    let run = command(&words).start();
    let address = format!("{}:{SERVED}", place.address("machine"));
    becomes("alive", || answers(&address, "/live"));
    becomes("following", || metrics(&address).contains("tip_height{kind=\"finalized\"}"));
    let began = Instant::now();
    signal(&run, "TERM");
    assert_eq!(run.end(END).code, Some(0));
    assert!(began.elapsed() < unit.duration("Service", "TimeoutStopSec"));

    // What is wrong is not right a quarter of a minute later.
    fs::write(configured, "sources = []").unwrap();
    let output = command(&words).start().end(END);
    let code = output.code.unwrap().to_string();
    let given_up = unit.get("Service", "RestartPreventExitStatus").split(' ');
    assert!(given_up.clone().any(|given_up| given_up == code), "{code}: {}", output.errors);
    assert!(given_up.clone().all(|code| code != "1"), "a node that is away passes");
    // It is given up before the count begins anew.
    let starts: u32 = unit.get("Unit", "StartLimitBurst").parse().unwrap();
    let wait = unit.duration("Service", "RestartSec");
    assert!(wait * starts < unit.duration("Unit", "StartLimitIntervalSec"));

    // With a command that is on this machine.
    let text = text("tidewatch.service").replace(&program, env!("CARGO_BIN_EXE_tidewatch"));
    let path = place.path("machine", "tidewatch.service");
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    for check in [&["verify"][..], &["security", "--offline=true", "--threshold=15"]] {
        let words = [&["systemd-analyze"], check, &[path]].concat();
        let words: Vec<_> = words.into_iter().map(str::to_owned).collect();
        assert_ne!(succeeds(&words), Some(false), "{words:?}");
    }
}

#[test]
fn the_image_is_pinned_runs_as_nobody_and_says_whether_it_is_healthy() {
    let image = Image::read(&text("Containerfile"));
    let [build, runtime] = image.stages()[..] else { panic!("it is built, and then run") };
    // The toolchain that the tests are built by.
    let toolchain = fs::read_to_string(repository().join("rust-toolchain.toml")).unwrap();
    let toolchain = toolchain.split('"').nth(1).unwrap();
    let said = |stage: &[(String, String)], instruction: &str, words: &str| {
        stage.iter().any(|(is, rest)| is == instruction && rest == words)
    };
    let from = format!("docker.io/library/rust:{toolchain}-bookworm AS build");
    assert!(said(build, "FROM", &from), "{from}");
    assert!(said(build, "ENV", &format!("RUSTUP_TOOLCHAIN={toolchain}")));
    let (name, version) = image.last("FROM").split_once(':').unwrap();
    assert_eq!(name, "docker.io/library/debian");
    assert!(version.starts_with("12."), "bookworm is Debian 12, by its point release: {version}");

    // Nothing that cargo needs is left out.
    let ignored = fs::read_to_string(repository().join(".dockerignore")).unwrap();
    let manifest = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let manifest: toml::Value = toml::from_str(&manifest).unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap().iter();
    for needed in members.map(|member| member.as_str().unwrap()).chain(["Cargo.lock", "Cargo.toml"])
    {
        let is_ignored = |line: &str| needed == line || needed.starts_with(&format!("{line}/"));
        assert!(!ignored.lines().any(is_ignored), "{needed}");
    }

    let user = runtime.iter().position(|(instruction, _)| instruction == "USER").unwrap();
    let (name, _) = runtime[user].1.split_once(':').unwrap();
    assert!(name.parse::<u32>().unwrap() >= 1_000, "an orchestrator sees by the number who it is");
    let later = &runtime[user..];
    assert!(!later.iter().any(|(instruction, _)| ["RUN", "COPY"].contains(&instruction.as_str())));

    let (node, place) = (Node::serve(31_337, 10), Place::new(2, &["container"]));
    let configured = place.path("container", "tidewatch.toml");
    fs::write(&configured, configuration(&node.address.to_string())).unwrap();
    let paths = [
        ("/etc/tidewatch/tidewatch.toml".to_owned(), configured),
        (image.last("WORKDIR").to_owned(), place.path("container", "data")),
    ];
    assert_eq!(image.words("VOLUME"), [image.last("WORKDIR")], "what it keeps outlives it");
    let put = |word: &String| place.put("container", &paths, word);
    let health: Vec<_> = image.health().iter().map(put).collect();
    assert_ne!(succeeds(&health), Some(true), "nothing runs yet");
    let words: Vec<_> = image.runs(None).iter().map(put).collect();
    let run = command(&words).start();
    let address = format!("{}:{}", place.address("container"), image.last("EXPOSE"));
    becomes("alive", || answers(&address, "/live"));
    assert_ne!(succeeds(&health), Some(false), "{health:?}");
    let began = Instant::now();
    signal(&run, image.last("STOPSIGNAL").trim_start_matches("SIG"));
    assert_eq!(run.end(END).code, Some(0));
    assert!(began.elapsed() < GRACE);
}

/// One of the followers.
struct Follower<'a> {
    name: &'a str,
    address: String,
    words: Vec<String>,
    run: Run,
}

impl Follower<'_> {
    fn leads(&self) -> bool {
        metrics(&self.address).contains("tidewatch_nats_elector_leader 1\n")
    }
}

/// Which one leads, once one alone does.
async fn leader(context: &tokio::Context, followers: &[Follower<'_>]) -> usize {
    let began = context.current();
    loop {
        let leads: Vec<_> = (0..followers.len()).filter(|at| followers[*at].leads()).collect();
        match leads[..] {
            [one] => return one,
            _ => context.sleep(TICK).await,
        }
        let waited = context.current().duration_since(began).unwrap_or_default();
        assert!(waited < END, "{leads:?} lead");
    }
}

/// How long nobody may publish after a leader was killed: its lease, in a cluster, and an election of the cluster's own.
const BOUND: Duration = Duration::from_secs(28);

#[test]
fn the_three_followers_and_servers_of_the_file_publish_as_one_and_the_leader_is_killed() {
    let Some(executable) = installed(NEWEST) else { return };
    let services = &Services::read(&text("compose.yaml"));
    let image = &Image::read(&text("Containerfile"));
    let nats = format!("docker.io/library/nats:{}-alpine", NEWEST.version());
    let (followers, servers) = (services.of("tidewatch"), services.of(&nats));
    assert_eq!((followers.len(), servers.len(), services.all.len()), (3, 3, 6));
    for (name, service) in &services.all {
        assert!(service.read_only && service.cap_drop == ["ALL"], "{name}");
        assert_eq!(service.security_opt, ["no-new-privileges:true"], "{name}");
        assert!(service.restart.starts_with("on-failure"), "{name}");
        if let Some(build) = &service.build {
            let context = repository().join("deploy").join(&build.context);
            assert_eq!(context.canonicalize().unwrap(), repository().canonicalize().unwrap());
            assert!(context.join(&build.dockerfile).ends_with("deploy/Containerfile"));
        }
        // What is published to this machine is where it serves, and is for this machine alone.
        for port in &service.ports {
            assert!(
                port.starts_with("127.0.0.1:") && port.ends_with(&format!(":{SERVED}")),
                "{port}"
            );
        }
    }
    let place = &Place::new(3, &[&followers[..], &servers].concat());

    tokio::Runner::default().start(|context| async move {
        let devnet = Devnet::start(context.child("devnet"), Config::default()).await.unwrap();
        devnet.reach(Height::new(1), END).await.unwrap();
        let mode = devnet.mode();
        let followed = format!(
            "source = [\"alto+{}?mode={}\"]\nidentity = \"{}\"\n",
            devnet.url(),
            mode.as_str(),
            devnet.identity()
        );
        let cluster: Vec<_> = servers
            .iter()
            .map(|name| {
                let words = services.arguments(place, name, &followed);
                let address = format!("{}:4222", place.address(name)).parse().unwrap();
                // One that listens everywhere, as `nats-server -js` does, has these addresses too.
                TcpListener::bind::<SocketAddr>(address)
                    .expect("nothing else listens at port 4222");
                Server::with(&executable, words, address, tempfile::tempdir().unwrap())
            })
            .collect();
        for name in &servers {
            let check = services.health(place, name);
            becomes(&format!("{name} is healthy"), || succeeds(&check) != Some(false));
        }
        let mut all: Vec<_> = followers
            .iter()
            .map(|name| {
                let words = image.runs(Some(&services.arguments(place, name, &followed)));
                let address = format!("{}:{SERVED}", place.address(name));
                Follower { name, address, run: command(&words).start(), words }
            })
            .collect();
        for follower in &all {
            becomes(&format!("{} is ready", follower.name), || {
                answers(&follower.address, "/ready")
            });
        }
        let leads = leader(&context, &all).await;

        let id = alto::chain_id(&from_hex(&devnet.identity()).unwrap(), mode);
        let mut read = Read::open(&context, &cluster[0].url(), id).await;
        read.until(&context, devnet.tip().get()).await;
        assert_eq!(read.tokens().await.len(), 1);

        let killed = all.remove(leads);
        signal(&killed.run, "KILL");
        let began = context.current();
        read.until(&context, devnet.tip().get() + 1).await;
        let took = context.current().duration_since(began).unwrap();
        println!("{} was killed; another one published after {took:?}", killed.name);
        assert!(took < BOUND, "{took:?}");
        let tokens = read.tokens().await;
        let [first, second] = tokens[..] else { panic!("{tokens:?}") };
        assert!(first < second);
        assert!(read.is_whole(), "{:?}", read.given);

        // Whoever restarts it has three again, of whom one leads.
        assert_eq!(killed.run.end(END).code, None);
        let run = command(&killed.words).start();
        all.push(Follower { run, ..killed });
        for Follower { name, address, .. } in &all {
            for path in ["/live", "/ready", "/health", "/metrics"] {
                becomes(&format!("{path} of {name}"), || answers(address, path));
            }
            let check = image.health();
            let check: Vec<_> = check.iter().map(|word| place.put(name, &[], word)).collect();
            assert_ne!(succeeds(&check), Some(false), "{check:?}");
        }
        assert_ne!(leader(&context, &all).await, all.len() - 1, "who comes back stands by");

        for Follower { name, run, .. } in all {
            let began = Instant::now();
            signal(&run, image.last("STOPSIGNAL").trim_start_matches("SIG"));
            let output = run.end(END);
            assert_eq!(output.code, Some(0), "{name}: {}", output.errors);
            assert!(began.elapsed() < services.grace(name), "{name}");
        }
        assert!(read.cluster.lease().await.unwrap().value.is_none(), "the last one hands over");
        for (name, server) in servers.iter().zip(cluster) {
            let (began, grace) = (Instant::now(), services.grace(name));
            let code = server.terminate(|| {
                assert!(began.elapsed() < grace, "{name}");
                std::thread::sleep(TICK);
            });
            assert_eq!(code, Some(0), "{name}");
        }
        devnet.stop().await;
    });
}
