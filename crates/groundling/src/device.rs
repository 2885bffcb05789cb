//! Where a model runs: the one place that chooses.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;

/// A choice of device, as commands and recipes write it.
///
/// | written | means |
/// |---|---|
/// | `auto` | a hardware GPU of a backend that this build has, else the CPU |
/// | `cpu` | the CPU |
/// | `vulkan`, `wgpu`, `metal`, `cuda` | the backend's own choice of a GPU |
/// | `cuda:1`, `vulkan:0` | a GPU by its number |
///
/// ```
/// use groundling::DeviceChoice;
///
/// let choice: DeviceChoice = "cpu".parse()?;
/// assert_eq!(choice, DeviceChoice::Cpu);
/// assert_eq!("cuda:1".parse::<DeviceChoice>()?.to_string(), "cuda:1");
/// # Ok::<(), groundling::DeviceError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DeviceChoice {
    /// A hardware GPU if there is one for this build, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU.
    Gpu {
        /// How it is spoken to.
        backend: GpuBackend,
        /// Its number; the backend chooses if there is none.
        index: Option<usize>,
    },
}

/// How a GPU is spoken to. Which of these a build has is decided by the features of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GpuBackend {
    /// NVIDIA's own.
    Cuda,
    /// Apple's own.
    Metal,
    /// Any vendor.
    Vulkan,
    /// WebGPU, which finds an interface itself.
    Wgpu,
}

/// Why there is no such device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No name of a device.
    #[error(
        "device {found:?} does not exist, expected auto, cpu, or one of vulkan, wgpu, metal, cuda with or without `:NUMBER`"
    )]
    Unknown {
        /// What was written.
        found: String,
    },
    /// The program was built without it.
    #[error("this build has no device {wanted}; it has {}", built.join(", "))]
    NotBuilt {
        /// What was asked for.
        wanted: DeviceChoice,
        /// What there is.
        built: Vec<&'static str>,
    },
    /// The machine has none, or none of that number.
    #[error("there is no device {wanted} on this machine; the backend finds {found} in all")]
    Absent {
        /// What was asked for.
        wanted: DeviceChoice,
        /// How many devices the backend finds.
        found: usize,
    },
}

impl DeviceError {
    /// What a person can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown { .. } => "use cpu, or leave the device out".to_owned(),
            Self::NotBuilt { wanted, .. } => {
                format!(
                    "build with the feature of that backend (`--features {}`), or use another device",
                    wanted.backend()
                )
            }
            Self::Absent { .. } => {
                "`groundling doctor` lists the devices that are found; drivers may be missing".to_owned()
            }
        }
    }
}

impl DeviceChoice {
    /// Opens the device.
    ///
    /// # Errors
    /// If this build or this machine has no such device.
    pub fn open(self) -> Result<Device, DeviceError> {
        match self {
            Self::Auto => match GpuBackend::ALL.iter().find_map(|backend| hardware(*backend)) {
                Some(device) => Ok(device),
                None => Self::Cpu.open(),
            },
            Self::Cpu => cpu().ok_or_else(|| DeviceError::NotBuilt { wanted: self, built: built() }),
            Self::Gpu { backend, index } => {
                let Some(found) = devices(backend) else {
                    return Err(DeviceError::NotBuilt { wanted: self, built: built() });
                };
                let count = found.len();
                let chosen = found.into_iter().nth(index.unwrap_or(0));
                chosen.ok_or(DeviceError::Absent { wanted: self, found: count })
            }
        }
    }

    /// The backend's name.
    fn backend(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Gpu { backend, .. } => backend.name(),
        }
    }
}

impl GpuBackend {
    /// In the order in which `auto` tries them.
    pub const ALL: [Self; 4] = [Self::Cuda, Self::Metal, Self::Vulkan, Self::Wgpu];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::Metal => "metal",
            Self::Vulkan => "vulkan",
            Self::Wgpu => "wgpu",
        }
    }
}

/// The devices this build can speak to, by name; `cpu` first where there is one.
pub fn built() -> Vec<&'static str> {
    let cpu = cpu().is_some().then_some("cpu");
    let gpus = GpuBackend::ALL.into_iter().filter(|backend| is_built(*backend)).map(GpuBackend::name);
    cpu.into_iter().chain(gpus).collect()
}

/// Every device that is there: how to choose it, and what the backend calls it. Looking for GPUs may take a second.
pub fn available() -> Vec<(DeviceChoice, String)> {
    let cpu = cpu().map(|device| (DeviceChoice::Cpu, format!("{device:?}")));
    let of = |backend| {
        let found = devices(backend).unwrap_or_default().into_iter().enumerate();
        found.map(move |(index, device)| (DeviceChoice::Gpu { backend, index: Some(index) }, format!("{device:?}")))
    };
    cpu.into_iter().chain(GpuBackend::ALL.into_iter().flat_map(of)).collect()
}

fn cpu() -> Option<Device> {
    #[cfg(feature = "flex")]
    return Some(Device::flex());
    #[cfg(not(feature = "flex"))]
    None
}

fn is_built(backend: GpuBackend) -> bool {
    match backend {
        GpuBackend::Cuda => cfg!(feature = "cuda"),
        GpuBackend::Metal => cfg!(feature = "metal"),
        GpuBackend::Vulkan => cfg!(feature = "vulkan"),
        GpuBackend::Wgpu => cfg!(feature = "wgpu"),
    }
}

/// The GPUs of a backend; `None` if this build does not have it.
fn devices(backend: GpuBackend) -> Option<Vec<Device>> {
    #[allow(unused_imports)] // without any GPU backend
    use burn::tensor::DeviceType;
    match backend {
        #[cfg(feature = "cuda")]
        GpuBackend::Cuda => Some(Device::enumerate(DeviceType::Cuda).into_iter().collect()),
        #[cfg(feature = "metal")]
        GpuBackend::Metal => Some(Device::enumerate(DeviceType::Metal).into_iter().collect()),
        #[cfg(feature = "vulkan")]
        GpuBackend::Vulkan => Some(Device::enumerate(DeviceType::Vulkan).into_iter().collect()),
        #[cfg(feature = "wgpu")]
        GpuBackend::Wgpu => Some(Device::enumerate(DeviceType::Wgpu).into_iter().collect()),
        #[allow(unreachable_patterns)] // with all of them
        _ => None,
    }
}

/// A GPU that is one: drivers that compute on the CPU under a GPU's interface are slower than our own CPU backend.
fn hardware(backend: GpuBackend) -> Option<Device> {
    devices(backend)?.into_iter().find(|device| !format!("{device:?}").contains("Cpu"))
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown { found: text.to_owned() };
        let (name, index) = match text.split_once(':') {
            Some((name, index)) => (name, Some(index.parse().map_err(|_| unknown())?)),
            None => (text, None),
        };
        match (name, index) {
            ("auto", None) => Ok(Self::Auto),
            ("cpu", None) => Ok(Self::Cpu),
            _ => {
                let backend = GpuBackend::ALL.into_iter().find(|backend| backend.name() == name).ok_or_else(unknown)?;
                Ok(Self::Gpu { backend, index })
            }
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.backend())?;
        match self {
            Self::Gpu { index: Some(index), .. } => write!(f, ":{index}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for name in ["auto", "cpu", "vulkan", "wgpu:3", "metal", "cuda:0"] {
            assert_eq!(name.parse::<DeviceChoice>().map(|choice| choice.to_string()), Ok(name.to_owned()));
        }
        for name in ["", "gpu", "cpu:0", "cuda:", "cuda:x", "Vulkan", "auto:1"] {
            assert_eq!(name.parse::<DeviceChoice>(), Err(DeviceError::Unknown { found: name.to_owned() }));
        }
    }

    #[cfg(all(feature = "flex", not(feature = "cuda")))]
    #[test]
    fn what_is_not_built_is_an_error_that_says_how() {
        assert!(DeviceChoice::Auto.open().is_ok() && DeviceChoice::Cpu.open().is_ok());
        let error = "cuda:1".parse::<DeviceChoice>().and_then(DeviceChoice::open).err();
        let Some(error) = error else { panic!("a device that is not built") };
        assert!(error.to_string().starts_with("this build has no device cuda:1; it has cpu"), "{error}");
        assert!(error.hint().contains("--features cuda"), "{}", error.hint());
    }
}
