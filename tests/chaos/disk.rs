//! A disk that is full: intake waits, what runs comes to its end, and everything goes on by itself.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::bench::{Bench, Setting};
use crate::load::{Load, Mix};
use crate::report::Row;
use crate::scale::Scale;

/// Size of the disk.
const DISK_MIB: u32 = 96;

/// Free space below which nothing is taken in.
const MIN_FREE_BYTES: u32 = 16 << 20;

/// The disk is filled in the middle of a load, and freed again.
pub fn disk_full(seed: u64, scale: Scale) -> Row {
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(why) => {
            let mut row = Row::new("disk-full", seed);
            if std::env::var_os("REQUIRE_TMPFS").is_some() {
                row.blame(format!("REQUIRE_TMPFS is set, but {why}"));
            }
            row.skipped = Some(why);
            return row;
        }
    };
    let (jobs, full_secs) = scale.choose((300, 60), (24, 4));
    let data_dir = disk.path().join("data");
    let settings = tempfile::NamedTempFile::new().expect("a file");
    // The bound that is usual is larger than this disk.
    let text = format!("[ledger]\nmin_free_bytes = {MIN_FREE_BYTES}\n");
    std::fs::write(settings.path(), text).expect("a settings file");
    let path = settings.path().to_string_lossy().into_owned();
    let setting = Setting {
        environment: vec![("TRANSLATOR_CONFIG".to_owned(), path)],
        data_dir: Some(&data_dir),
        ..Setting::default()
    };
    let mut bench = Bench::start("disk-full", seed, setting);
    let mut load = Load::new(seed);
    for message in load.messages(jobs / 3, Mix::USUAL) {
        bench.sender.push(&message);
    }
    let filler = disk.fill();
    bench.progress.tell("the disk is full");
    let began = Instant::now();
    let mut pushed = 0;
    let mut messages = load.messages(jobs / 3, Mix::USUAL).into_iter();
    while began.elapsed() < Duration::from_secs(full_secs) {
        // What finds no place is for the sender to keep: it is pushed once there is room.
        if let Some(message) = messages.next() {
            bench.sender.push_or_keep(message);
            pushed += 1;
        }
        // Whatever was freed meanwhile is taken again.
        disk.fill_up(&filler);
        std::thread::sleep(Duration::from_millis(100));
    }
    bench.note_accepted();
    if !bench.daemon.is_alive() {
        bench.row.blame("the daemon has died of a full disk");
    }
    let errors = bench.daemon.log_lines(&["full", "cannot be kept", "waits"]);
    std::fs::remove_file(&filler).expect("the filler is removed");
    bench.progress.tell("the disk is free again");
    bench.sender.push_kept();
    for message in load
        .messages(jobs / 3, Mix::USUAL)
        .into_iter()
        .chain(messages)
    {
        bench.sender.push(&message);
    }
    bench.settle();
    let mut row = bench.finish();
    row.notes.push(format!(
        "{pushed} requests came while the disk was full; {errors} log lines tell of it"
    ));
    row.require("never accepted", row.counts.never_accepted as f64, 0.0);
    row
}

/// A file system in memory, unmounted when it is dropped.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK_MIB}m"), "tmpfs"])
            .arg(folder.path())
            .output()
            .map_err(|error| format!("mount cannot be run: {error}"))?;
        if mounted.status.success() {
            return Ok(Self { folder });
        }
        let said = String::from_utf8_lossy(&mounted.stderr);
        Err(format!("a tmpfs cannot be mounted: {}", said.trim()))
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all the room that is left.
    fn fill(&self) -> PathBuf {
        let filler = self.path().join("filler");
        self.fill_up(&filler);
        filler
    }

    fn fill_up(&self, filler: &Path) {
        let options = File::options().append(true).create(true).open(filler);
        let Ok(mut file) = options else { return };
        for piece in [1 << 20, 4 << 10] {
            // Until it is refused: that is what this is for.
            while file.write_all(&vec![0; piece]).is_ok() {}
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.path().display());
        }
    }
}
