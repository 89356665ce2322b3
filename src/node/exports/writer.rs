//! Who writes exported certificates? This process, with its own rights: the master where there is one. It looks into
//! nothing that it writes; where it may write, the configuration says.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::hook;
use super::{Deliver, Parcel, Standing};
use crate::store::lineage::{self, Part};

/// Writes, and runs hooks.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    /// Hooks by what they are run for.
    hooks: Arc<Mutex<HashMap<PathBuf, Ran>>>,
}

#[derive(Clone, Debug)]
enum Ran {
    Running,
    Failed(String),
}

impl Deliver for Writer {
    fn deliver(&self, parcel: &Parcel, parts: &[Part]) -> io::Result<Standing> {
        let Parcel { export, lineage, .. } = parcel;
        if !lineage::is_plain(lineage) || parts.iter().any(|part| part.content.len() > lineage::LARGEST) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let home = lineage::home(export, lineage);
        let owed = home.with_file_name(format!(".{lineage}.hook"));
        let mut hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(hooks.get(&home), Some(Ran::Running)) {
            return Ok(Standing::HookRuns);
        }
        if !lineage::is_there(export, lineage, parts) {
            hooks.remove(&home);
            if export.hook.is_some() {
                // Before the switch, so that a crash between the two forgets no hook.
                lineage::make_home(export, lineage)?;
                mark(&owed)?;
            }
            lineage::put(export, lineage, parts)?;
        } else if let Some(Ran::Failed(why)) = hooks.remove(&home) {
            // Told once; whoever asks again wants it run again.
            return Ok(Standing::HookFailed(why));
        }
        match &export.hook {
            Some(command) if owed.exists() => {
                let (command, parcel, all) = (command.clone(), parcel.clone(), self.hooks.clone());
                hooks.insert(home.clone(), Ran::Running);
                std::thread::Builder::new().name("hook".to_owned()).spawn(move || {
                    let ran = hook::run(&command, &home, &parcel.domains, parcel.export.hook_timeout);
                    let mut hooks = all.lock().unwrap_or_else(PoisonError::into_inner);
                    match ran {
                        Ok(()) => {
                            let _ = fs::remove_file(&owed);
                            hooks.remove(&home);
                        }
                        Err(why) => drop(hooks.insert(home, Ran::Failed(why))),
                    }
                })?;
                Ok(Standing::HookRuns)
            }
            _ => Ok(Standing::Done),
        }
    }
}

/// Notes that a hook is owed; never through a link that somebody else laid.
fn mark(owed: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    fs::File::options().write(true).create(true).truncate(true).mode(0o600).custom_flags(flags).open(owed).map(drop)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::plan::export::{Export, Layout};
    use zeroize::Zeroizing;

    fn settled(writer: &Writer, parcel: &Parcel, word: &str) -> Standing {
        let parts = [Part { name: "", content: Zeroizing::new(word.as_bytes().to_vec()) }];
        let begun = Instant::now();
        loop {
            match writer.deliver(parcel, &parts).unwrap() {
                Standing::HookRuns => assert!(begun.elapsed() < Duration::from_secs(30)),
                other => return other,
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_hook_runs_once_for_each_switch_and_again_until_it_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let (log, good) = (folder.path().join("log"), folder.path().join("good"));
        let hook = format!("echo $RENEWED_LINEAGE >> {}; test -e {}", log.display(), good.display());
        let export = Export {
            name: None,
            folder: folder.path().join("out"),
            layout: Layout::Haproxy,
            owner: None,
            mode: 0o600,
            hook: Some(hook.into()),
            hook_timeout: Duration::from_secs(20),
        };
        let parcel = Parcel { export, lineage: "a.test".into(), domains: vec!["a.test".into()] };
        let runs = || std::fs::read_to_string(&log).unwrap_or_default().lines().count();
        let writer = Writer::default();
        assert!(matches!(settled(&writer, &parcel, "one"), Standing::HookFailed(_)));
        assert_eq!(runs(), 1);
        fs::write(&good, "").unwrap();
        // Another process after a crash knows of it too.
        let later = Writer::default();
        assert_eq!((settled(&later, &parcel, "one"), runs()), (Standing::Done, 2));
        assert_eq!((settled(&later, &parcel, "one"), runs()), (Standing::Done, 2));
        assert_eq!((settled(&later, &parcel, "two"), runs()), (Standing::Done, 3));
    }
}
