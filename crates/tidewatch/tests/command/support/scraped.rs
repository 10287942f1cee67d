//! What a running command serves to Prometheus.

use super::run::Run;
use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
};

/// `GET /metrics` at `address`, with the head of the answer.
pub(crate) fn metrics(address: &str) -> String {
    ask(address).unwrap()
}

/// The same, where whoever asks too often may be refused.
pub(crate) fn ask(address: &str) -> io::Result<String> {
    get(address, "/metrics")
}

/// `GET` of any path.
pub(crate) fn get(address: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Where `run`, which prints for people, serves its metrics.
pub(crate) fn metrics_address(run: &Run) -> String {
    let line = run.line_with("metrics at http://");
    let address = line.split("metrics at http://").nth(1).unwrap();
    address.trim_end_matches("/metrics").to_owned()
}
