//! A disk of its own, to be filled.

use std::io::Write;
use std::path::Path;
use std::process::Command;

/// A small file system in memory on a folder, as long as the value lives.
pub(crate) struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    pub(crate) fn on(folder: &'a Path, kib: u32) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test mounts a small tmpfs and so needs root: run it as root, as CI does"
        );
        std::fs::create_dir_all(folder).unwrap();
        let size = format!("size={kib}k,mode=700");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).status().unwrap();
        assert!(
            mount.success(),
            "this test mounts a small tmpfs, and `mount` failed: it needs CAP_SYS_ADMIN"
        );
        Self(folder)
    }

    /// Takes all that is left.
    pub(crate) fn fill(&self) {
        let mut filling = std::fs::File::create(self.0.join("filling")).unwrap();
        loop {
            match filling.write_all(&[1; 4096]) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(crate) fn make_room(&self) {
        std::fs::remove_file(self.0.join("filling")).unwrap();
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // Lazily: a killed server may still have its files open.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}
