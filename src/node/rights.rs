//! With which rights does the server process run? Those of `user`, no way back up, no core dumps that would hold keys.

use std::ffi::CString;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, initgroups, setgid, setuid};

use crate::plan::process::Process;

/// Gives up the rights of the super-user, if this process has them. Before any thread is started.
///
/// # Errors
/// nginx's words; the process must not go on then.
pub fn drop_to(process: &Process) -> Result<(), String> {
    let said =
        |call: String| move |errno: nix::errno::Errno| format!("{call} failed ({}: {})", errno as i32, errno.desc());
    if let Some(user) = process.user.as_ref().filter(|_| nix::unistd::geteuid().is_root()) {
        let name = CString::new(user.name.as_bytes()).map_err(|_| "the user's name holds a NUL".to_owned())?;
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        setgid(gid).map_err(said(format!("setgid({gid})")))?;
        initgroups(&name, gid).map_err(said(format!("initgroups({}, {gid})", user.name)))?;
        setuid(uid).map_err(said(format!("setuid({uid})")))?;
    }
    nix::sys::prctl::set_no_new_privs().map_err(said("prctl(PR_SET_NO_NEW_PRIVS)".to_owned()))?;
    seal_memory()
}

/// Memory holds keys: nothing of it is written to disk, and no other process of the user may look at it.
///
/// # Errors
/// nginx's words.
pub fn seal_memory() -> Result<(), String> {
    let said = |call: &'static str| {
        move |errno: nix::errno::Errno| format!("{call} failed ({}: {})", errno as i32, errno.desc())
    };
    nix::sys::prctl::set_dumpable(false).map_err(said("prctl(PR_SET_DUMPABLE)"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(said("setrlimit(RLIMIT_CORE)"))
}

/// As many open files as may be: `worker_rlimit_nofile`, else what the hard limit allows. Returns the limit in force.
pub fn raise_open_files(wanted: Option<u64>) -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    let (soft_wanted, hard_wanted) = match wanted {
        Some(wanted) => (wanted, wanted.max(hard)),
        None => (hard, hard),
    };
    if soft_wanted == soft {
        return soft;
    }
    if setrlimit(Resource::RLIMIT_NOFILE, soft_wanted, hard_wanted).is_ok()
        || setrlimit(Resource::RLIMIT_NOFILE, soft_wanted.min(hard), hard).is_ok()
    {
        return getrlimit(Resource::RLIMIT_NOFILE).map_or(soft, |(soft, _)| soft);
    }
    if let Some(wanted) = wanted {
        tracing::error!(level = "alert", "setrlimit(RLIMIT_NOFILE, {wanted}) failed");
    }
    soft
}
