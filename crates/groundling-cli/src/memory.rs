//! How much memory the program has taken.

/// Most memory the program has held so far, in bytes; `None` where the system does not say.
pub(crate) fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn memory_that_was_written_is_seen() {
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        let peak = super::peak_bytes().unwrap_or_default();
        assert!(peak > 64 << 20, "{peak} with {} bytes held", block.len());
    }
}
