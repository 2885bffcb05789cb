//! What the process has used, where the system says.

/// Seconds of processor time of this process, all threads, user and system; `None` where the system does not say.
pub fn cpu_secs() -> Option<f64> {
    // Fields 14 and 15, in hundredths of a second on every Linux. The name in brackets may hold spaces.
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / 100.0)
}

/// Most bytes of memory that this process has held at once since [`forget_peak`] or its start.
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Starts [`peak_bytes`] again from what is held now. Says whether that is possible here.
pub fn forget_peak() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn work_and_memory_are_seen() {
        let before = cpu_secs().unwrap();
        let mut sum = 0u64;
        while cpu_secs().unwrap() < before + 0.02 {
            sum = (0..1_000_000u64).fold(sum, |sum, i| sum.wrapping_mul(31).wrapping_add(i));
        }
        assert!(sum != 1);
        assert!(peak_bytes().unwrap() > 1 << 20);
    }
}
