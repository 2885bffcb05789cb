//! What this program and the other held at most.

use crate::peer::Peer;

pub(crate) fn print(peer: Option<&mut Peer>) {
    for (program, bytes) in [("ours", peak()), ("PyTorch", peer.and_then(Peer::peak))] {
        if let Some(bytes) = bytes {
            println!("at most in memory, {program}: {:.0} MB", bytes / 1e6);
        }
    }
}

/// Bytes that this process ever had resident.
fn peak() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kilobytes| kilobytes * 1024.0)
}
