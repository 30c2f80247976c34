//! Watching the configuration file. The folders are watched, not the file: editors and Kubernetes replace files by renames and
//! symbolic links, which a watch on the file itself would lose. What counts as a change is decided by the reader, from the contents.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, timeout};

/// A burst of changes counts as one: it is over when nothing happened for this long.
pub const SETTLE: Duration = Duration::from_millis(50);
/// A burst that never ends is cut here.
const SETTLE_MAX: Duration = Duration::from_millis(500);
/// Symbolic links followed from the configured path to the file.
const LINKS_MAX: usize = 16;

/// Tells when something changed around a file.
#[derive(Debug)]
pub struct Watch {
    inotify: Arc<OwnedFd>,
    watches: BTreeSet<i32>,
    events: Receiver<()>,
    /// Something changed that [`Watch::changed`] has not reported yet.
    dirty: bool,
    file: PathBuf,
}

impl Watch {
    /// Starts watching, by a thread that sleeps in the kernel. Errors when the kernel's watches are used up or the folder
    /// cannot be read.
    pub fn new(file: &Path) -> std::io::Result<Watch> {
        let inotify = Arc::new(inotify::init(CreateFlags::CLOEXEC)?);
        let (sender, events) = channel(1);
        let mut watch = Watch {
            inotify: inotify.clone(),
            watches: BTreeSet::new(),
            events,
            dirty: false,
            file: std::path::absolute(file)?,
        };
        watch.arm()?;
        std::thread::Builder::new()
            .name("ringway-watch".to_string())
            .spawn(move || read_all(&inotify, &sender))?;
        Ok(watch)
    }

    /// Waits until a burst of changes is over; false when watching has ended. Cancel-safe: a wait that is not finished
    /// loses nothing but its settling time.
    pub async fn changed(&mut self) -> bool {
        if !self.dirty && self.events.recv().await.is_none() {
            return false;
        }
        self.dirty = true;
        let end = Instant::now() + SETTLE_MAX;
        while Instant::now() < end {
            match timeout(SETTLE, self.events.recv()).await {
                Ok(Some(())) => {}
                Ok(None) => return false,
                Err(_quiet) => break,
            }
        }
        self.dirty = false;
        // Links may lead through other folders now.
        self.arm().is_ok()
    }

    /// Watches the folder of the file and of each link on the way to it. Adding a watch twice changes nothing.
    fn arm(&mut self) -> std::io::Result<()> {
        let what = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR;
        for (at, folder) in folders(&self.file).iter().enumerate() {
            match inotify::add_watch(&*self.inotify, folder, what) {
                Ok(watch) => {
                    self.watches.insert(watch);
                }
                // A folder behind a link may be gone for a moment; the configured path's own folder must be there.
                Err(error) if at == 0 => return Err(error.into()),
                Err(_) => {}
            }
        }
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.events.close();
        // The end of each watch is an event: it wakes the thread, which finds nobody listening.
        for watch in &self.watches {
            let _ = inotify::remove_watch(&*self.inotify, *watch);
        }
    }
}

/// The thread: turns every event into one pending notice.
fn read_all(inotify: &OwnedFd, notices: &Sender<()>) {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(inotify, &mut buffer);
    while !notices.is_closed() {
        match reader.next() {
            // A notice that is already there speaks for this event too.
            Ok(_) => drop(notices.try_send(())),
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// The folders that hold the file and the links that lead to it, the configured path's own first.
fn folders(file: &Path) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let mut at = file.to_path_buf();
    for _ in 0..LINKS_MAX {
        let Some(folder) = at.parent().map(Path::to_path_buf) else { break };
        if seen.insert(folder.clone()) {
            found.push(folder.clone());
        }
        match std::fs::read_link(&at) {
            Ok(target) => at = folder.join(target),
            Err(_) => break,
        }
    }
    if let Some(folder) = file.canonicalize().ok().and_then(|real| real.parent().map(Path::to_path_buf))
        && seen.insert(folder.clone())
    {
        found.push(folder);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::os::unix::fs::symlink;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("ringway-watch-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        folder
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let limit = Duration::from_secs(20);
        runtime.block_on(async { tokio::time::timeout(limit, test).await.expect("in time") });
    }

    #[test]
    fn a_write_in_place_and_an_atomic_rename_are_seen() {
        run(async {
            let folder = scratch("plain");
            let file = folder.join("a.yaml");
            std::fs::write(&file, "one").expect("writes");
            let mut watch = Watch::new(&file).expect("watches");
            std::fs::write(&file, "two").expect("writes");
            assert!(watch.changed().await);
            std::fs::write(folder.join("tmp"), "three").expect("writes");
            std::fs::rename(folder.join("tmp"), &file).expect("renames");
            assert!(watch.changed().await);
            std::fs::remove_dir_all(&folder).expect("cleans up");
        });
    }

    #[test]
    fn a_kubernetes_volume_swap_is_seen() {
        run(async {
            let folder = scratch("kubernetes");
            for (revision, text) in [("..1", "one"), ("..2", "two"), ("..3", "three")] {
                std::fs::create_dir(folder.join(revision)).expect("makes a folder");
                std::fs::write(folder.join(revision).join("a.yaml"), text).expect("writes");
            }
            symlink("..1", folder.join("..data")).expect("links");
            symlink("..data/a.yaml", folder.join("a.yaml")).expect("links");
            let mut watch = Watch::new(&folder.join("a.yaml")).expect("watches");
            for (revision, text) in [("..2", "two"), ("..3", "three")] {
                symlink(revision, folder.join("..data_tmp")).expect("links");
                std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("swaps");
                assert!(watch.changed().await);
                assert_eq!(std::fs::read_to_string(folder.join("a.yaml")).expect("reads"), text);
            }
            std::fs::remove_dir_all(&folder).expect("cleans up");
        });
    }

    #[test]
    fn a_link_into_another_folder_is_followed() {
        run(async {
            let folder = scratch("link");
            let (here, there) = (folder.join("here"), folder.join("there"));
            std::fs::create_dir(&here).expect("makes a folder");
            std::fs::create_dir(&there).expect("makes a folder");
            std::fs::write(there.join("real.yaml"), "one").expect("writes");
            symlink("../there/real.yaml", here.join("a.yaml")).expect("links");
            let mut watch = Watch::new(&here.join("a.yaml")).expect("watches");
            std::fs::write(there.join("real.yaml"), "two").expect("writes");
            assert!(watch.changed().await);
            std::fs::remove_dir_all(&folder).expect("cleans up");
        });
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        run(async {
            assert!(Watch::new(Path::new("/nonexistent-ringway/a.yaml")).is_err());
        });
    }
}
