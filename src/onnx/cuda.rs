//! What CUDA needs of the machine, as far as that shows without CUDA.

use std::path::{Path, PathBuf};

/// A machine's NVIDIA driver and the devices that it drives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CudaDevices {
    /// Version of the driver, where it tells.
    pub driver_version: Option<String>,
    /// Names of the devices, where the driver tells.
    pub names: Vec<String>,
}

/// The CUDA devices of this machine; `None` where no NVIDIA driver is loaded.
pub fn devices() -> Option<CudaDevices> {
    devices_below(Path::new("/"))
}

fn devices_below(root: &Path) -> Option<CudaDevices> {
    let driver = root.join("proc/driver/nvidia");
    // The driver's control device, or that of the Windows subsystem.
    let is_there = |device: &str| root.join("dev").join(device).exists();
    if !driver.join("version").exists() && !is_there("nvidiactl") && !is_there("dxg") {
        return None;
    }
    let version = std::fs::read_to_string(driver.join("version"));
    let mut folders: Vec<PathBuf> = std::fs::read_dir(driver.join("gpus"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    folders.sort();
    let name = |folder: &PathBuf| {
        let information = std::fs::read_to_string(folder.join("information")).ok()?;
        let model = information
            .lines()
            .find_map(|line| line.strip_prefix("Model:"))?;
        Some(model.trim().to_owned())
    };
    Some(CudaDevices {
        driver_version: version.ok().and_then(|text| version_in(&text)),
        names: folders.iter().filter_map(name).collect(),
    })
}

/// `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar …`
fn version_in(text: &str) -> Option<String> {
    let is_version = |word: &&str| {
        word.contains('.')
            && word
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    let line = text.lines().find(|line| line.starts_with("NVRM version"))?;
    line.split_whitespace().find(is_version).map(str::to_owned)
}

/// Where a library that is loaded was found; the loader may have searched for it.
pub fn loaded_from(library: &Path) -> Option<PathBuf> {
    let name = library.file_name()?;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines()
        .filter_map(|line| line.find('/').map(|start| PathBuf::from(&line[start..])))
        .find(|path| path.file_name() == Some(name))
}

/// Why CUDA cannot work with this library on this machine, where that can be told without trying.
pub fn obstacle(library: &Path) -> Option<String> {
    if devices().is_none() {
        return Some(
            "no NVIDIA driver is loaded (in a container: start it with --gpus all)".to_owned(),
        );
    }
    let library = loaded_from(library).unwrap_or_else(|| library.to_owned());
    let provider = library.with_file_name("libonnxruntime_providers_cuda.so");
    (!provider.exists()).then(|| {
        format!(
            "{} is built for the processor only: beside it is no libonnxruntime_providers_cuda.so \
             (`scripts/setup.sh --cuda` fetches both)",
            library.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_tells_its_version_and_devices() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(devices_below(root.path()), None);
        let driver = root.path().join("proc/driver/nvidia");
        let device = driver.join("gpus/0000:01:00.0");
        std::fs::create_dir_all(&device).unwrap();
        let version = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\nGCC version: 12.2.0\n";
        std::fs::write(driver.join("version"), version).unwrap();
        let information = "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 30\n";
        std::fs::write(device.join("information"), information).unwrap();
        let expected = CudaDevices {
            driver_version: Some("550.54.15".to_owned()),
            names: vec!["NVIDIA H100 80GB HBM3".to_owned()],
        };
        assert_eq!(devices_below(root.path()), Some(expected));
    }

    #[test]
    fn a_driver_without_words_is_a_driver() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("dev")).unwrap();
        std::fs::write(root.path().join("dev/nvidiactl"), "").unwrap();
        let found = devices_below(root.path()).unwrap();
        assert_eq!((found.driver_version, found.names.len()), (None, 0));
    }
}
