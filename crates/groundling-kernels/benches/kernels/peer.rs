//! The other program: `bench/peers/torch_peer.py`, asked over its standard input.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub(crate) struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    pub(crate) fn start() -> Option<Self> {
        let python = std::env::var_os("GROUNDLING_PEER_PYTHON")?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/peers/torch_peer.py");
        let command = Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = command.expect("GROUNDLING_PEER_PYTHON starts");
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Some(Self { child, input, output })
    }

    /// Seconds for one iteration, or `None` if the other program does not know the case.
    pub(crate) fn time(&mut self, name: &str, iterations: usize) -> Option<f64> {
        self.ask(&format!("time {name} {iterations}")).parse().ok()
    }

    /// Bytes that it ever had resident.
    pub(crate) fn peak(&mut self) -> Option<f64> {
        self.ask("memory").parse().ok()
    }

    fn ask(&mut self, request: &str) -> String {
        writeln!(self.input, "{request}").unwrap();
        self.input.flush().unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        answer.trim().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.input.write_all(b"quit\n").ok();
        self.child.wait().ok();
    }
}
