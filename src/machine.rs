//! What the machine has: how much memory and disk is free, and how much memory was used.

use candle_core::Device;
use serde::Serialize;

use crate::{Error, Result};

/// On what something was computed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// `linux`, `macos`, `windows`.
    pub os: &'static str,
    /// `x86_64`, `aarch64`.
    pub arch: &'static str,
    /// The processor's name, where the system tells it.
    pub cpu: Option<String>,
    /// Threads that computed.
    pub threads: usize,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        let kind = sysinfo::CpuRefreshKind::nothing();
        let system =
            sysinfo::System::new_with_specifics(sysinfo::RefreshKind::nothing().with_cpu(kind));
        let cpu = system.cpus().first().map(|cpu| cpu.brand().trim());
        Self {
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            cpu: cpu.filter(|name| !name.is_empty()).map(str::to_owned),
            threads: rayon::current_num_threads(),
        }
    }
}

/// Bytes that a computation on `device` may still take; `None` where nobody says.
pub fn available(device: &Device) -> Option<u64> {
    match device {
        Device::Cpu => available_on_host(),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => candle_core::cuda_backend::cudarc::driver::result::mem_get_info()
            .ok()
            .map(|(free, _)| free as u64),
        _ => None,
    }
}

/// Fails if so many bytes are not free.
///
/// # Errors
/// [`Error::DoesNotFit`] with what would take less.
pub fn check_memory(needed: u64, remedy: &str) -> Result<()> {
    match available_on_host() {
        Some(free) if free < needed => Err(Error::DoesNotFit(format!(
            "these runs need about {}, and {} are available: {remedy}",
            human(needed),
            human(free)
        ))),
        _ => Ok(()),
    }
}

/// Free main memory: of the machine, or of the control group (container) if that has less.
fn available_on_host() -> Option<u64> {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let free = system.available_memory();
    // Not the limit's `free_memory`: it counts files in the page cache, a checkpoint just read for example,
    // as taken.
    let limit = system.cgroup_limits().map_or(u64::MAX, |limits| {
        limits.total_memory.saturating_sub(limits.rss)
    });
    // A platform that cannot tell says that there is no memory at all.
    (system.total_memory() > 0).then_some(free.min(limit))
}

/// Free bytes of the disk that holds `path`, or will.
pub fn available_on_disk(path: &std::path::Path) -> Option<u64> {
    // The directory may still have to be made.
    let path = std::path::absolute(path).ok()?;
    let path = path
        .ancestors()
        .find_map(|ancestor| ancestor.canonicalize().ok())?;
    let disks = sysinfo::Disks::new_with_refreshed_list();
    disks
        .iter()
        .filter(|disk| path.starts_with(disk.mount_point()))
        .max_by_key(|disk| disk.mount_point().as_os_str().len())
        .map(sysinfo::Disk::available_space)
}

/// The largest resident set this process has had, in bytes.
pub fn peak() -> Option<u64> {
    // Where there is one, not getrusage, which on Linux also counts the program that started this one.
    if let Ok(status) = std::fs::read_to_string("/proc/self/status")
        && let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))
        && let Some(kilobytes) = line.trim().strip_suffix(" kB")
    {
        return kilobytes.parse::<u64>().ok().map(|peak| peak * 1024);
    }
    #[cfg(unix)]
    {
        use nix::sys::resource::{UsageWho, getrusage};
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
        // Bytes on macOS, kilobytes elsewhere.
        let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
        u64::try_from(usage.max_rss()).ok().map(|rss| rss * unit)
    }
    #[cfg(not(unix))]
    None
}

/// `1.5 GiB`.
pub fn human(bytes: u64) -> String {
    const GIB: f64 = (1u64 << 30) as f64;
    const MIB: f64 = (1u64 << 20) as f64;
    match bytes as f64 {
        b if b >= GIB => format!("{:.1} GiB", b / GIB),
        b => format!("{:.0} MiB", (b / MIB).ceil()),
    }
}
