//! Are changes of files seen, however they are made? Real files, real events, and a file system that sends none.
#![allow(clippy::unwrap_used)]

use semper::net::files::{Disk, ReadFile};
use semper::watch::files::{FileWatch, Patience};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const QUICK: Patience = Patience {
    quiet: Duration::from_millis(30),
    longest: Duration::from_millis(500),
    every: Duration::from_secs(3600),
    unwatched: Duration::from_secs(3600),
};

struct Bed {
    dir: tempfile::TempDir,
    watch: FileWatch,
    reports: Receiver<Arc<Path>>,
}

fn bed(patience: Patience, reader: Arc<dyn ReadFile>) -> Bed {
    let (send, reports) = channel();
    let watch = FileWatch::start(reader, patience, move |path| drop(send.send(path))).unwrap();
    Bed { dir: tempfile::tempdir().unwrap(), watch, reports }
}

impl Bed {
    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Changes the file until the change is reported: the watch may not stand yet at the first.
    fn seen(&self, path: &Path, change: impl Fn(u32)) {
        for number in 0..100 {
            change(number);
            match self.reports.recv_timeout(Duration::from_millis(300)) {
                Ok(reported) => {
                    assert_eq!(&*reported, path);
                    return;
                }
                Err(_) => continue,
            }
        }
        panic!("no report for {}", path.display());
    }

    fn quiet(&self) {
        assert_eq!(
            self.reports.recv_timeout(Duration::from_millis(300)),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout)
        );
    }
}

#[test]
fn a_file_that_is_rewritten_replaced_or_appears_is_reported() {
    let bed = bed(QUICK, Arc::new(Disk));
    let file = bed.at("a.pem");
    bed.watch.watch([file.clone()]);
    bed.seen(&file, |n| fs::write(&file, format!("new {n}")).unwrap());
    bed.seen(&file, |n| fs::write(&file, format!("rewritten {n}")).unwrap());
    bed.seen(&file, |n| {
        fs::write(bed.at("tmp"), format!("replaced {n}")).unwrap();
        fs::rename(bed.at("tmp"), &file).unwrap();
    });
    bed.seen(&file, |_| drop(fs::remove_file(&file)));
}

#[test]
fn noise_in_the_same_directory_does_not_delay_a_report() {
    let bed = bed(Patience { longest: Duration::from_secs(60), ..QUICK }, Arc::new(Disk));
    let (file, log) = (bed.at("a.pem"), bed.at("access.log"));
    bed.watch.watch([file.clone()]);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let noise = std::thread::spawn(move || {
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            fs::write(&log, "line").unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    bed.seen(&file, |n| fs::write(&file, format!("new {n}")).unwrap());
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    noise.join().unwrap();
}

#[test]
fn a_change_that_is_none_is_not_reported() {
    let bed = bed(QUICK, Arc::new(Disk));
    let (file, other) = (bed.at("a.pem"), bed.at("b.pem"));
    fs::write(&file, "0").unwrap();
    bed.watch.watch([file.clone()]);
    bed.seen(&file, |n| fs::write(&file, format!("first {n}")).unwrap());
    let now = fs::read(&file).unwrap();
    fs::write(&file, now).unwrap();
    fs::write(other, "x").unwrap();
    bed.quiet();
}

#[test]
fn a_symlink_swap_as_certbot_and_kubernetes_do_it_is_reported() {
    let bed = bed(QUICK, Arc::new(Disk));
    let kubernetes = |version: &str| {
        fs::create_dir_all(bed.at(&format!("k8s/..{version}"))).unwrap();
        fs::write(bed.at(&format!("k8s/..{version}/tls.crt")), version).unwrap();
        let _ = fs::remove_file(bed.at("k8s/..tmp"));
        symlink(format!("..{version}"), bed.at("k8s/..tmp")).unwrap();
        fs::rename(bed.at("k8s/..tmp"), bed.at("k8s/..data")).unwrap();
    };
    kubernetes("v0");
    let file = bed.at("k8s/tls.crt");
    symlink("..data/tls.crt", &file).unwrap();
    bed.watch.watch([file.clone()]);
    bed.seen(&file, |n| kubernetes(&format!("a{n}")));
    // The watch has followed into the new directory.
    bed.seen(&file, |n| kubernetes(&format!("b{n}")));
    let inner = fs::canonicalize(&file).unwrap();
    bed.seen(&file, |n| fs::write(&inner, format!("in place {n}")).unwrap());
}

#[test]
fn a_change_between_noting_and_watching_does_not_slip_through() {
    let every = Patience { every: Duration::from_millis(50), ..QUICK };
    let bed = bed(every, Arc::new(Disk));
    let file = bed.at("a.pem");
    fs::write(&file, "0").unwrap();
    bed.watch.watch([file.clone()]);
    fs::write(&file, "changed at once").unwrap();
    assert_eq!(bed.reports.recv_timeout(Duration::from_secs(20)).unwrap(), file.into());
}

#[test]
fn other_files_may_be_watched_from_one_moment_to_the_next() {
    let bed = bed(QUICK, Arc::new(Disk));
    let (old, new) = (bed.at("old/a"), bed.at("new/a"));
    for path in [&old, &new] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "0").unwrap();
    }
    bed.watch.watch([old.clone()]);
    bed.seen(&old, |n| fs::write(&old, format!("{n} ")).unwrap());
    bed.watch.watch([new.clone()]);
    bed.seen(&new, |n| fs::write(&new, format!("{n} ")).unwrap());
    fs::write(&old, "again").unwrap();
    bed.quiet();
}

/// Reads as the master would, for a process that may not look itself.
struct Privileged(PathBuf);

impl ReadFile for Privileged {
    fn read(&self, _: &Path) -> io::Result<zeroize::Zeroizing<Vec<u8>>> {
        Disk.read(&self.0)
    }
}

#[test]
fn files_that_we_may_not_look_at_are_compared_by_their_content() {
    let real = tempfile::NamedTempFile::new().unwrap();
    fs::write(real.path(), "0").unwrap();
    let often = Patience { unwatched: Duration::from_millis(50), ..QUICK };
    let bed = bed(often, Arc::new(Privileged(real.path().to_owned())));
    // A path below a file: looking at it fails, and not because it does not exist.
    fs::write(bed.at("wall"), "").unwrap();
    let file = bed.at("wall/key.pem");
    bed.watch.watch([file.clone()]);
    bed.seen(&file, |n| fs::write(real.path(), format!("new {n}")).unwrap());
}
