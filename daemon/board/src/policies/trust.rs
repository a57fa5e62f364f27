// SPDX-License-Identifier: MIT OR Apache-2.0

//! Checks whether only root can determine the contents of a path.

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::root::Root;

/// Link target of a mask.
pub(super) const NULL: &str = "/dev/null";
/// Maximum number of links in a path.
const MOST_LINKS: usize = 16;

/// Returns why the directory at `path` is not trusted.
pub(super) fn judge_directory(root: &Root, path: &str) -> Result<Option<String>, Errno> {
    let mut stat = root.link_stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        match follow(root, path)? {
            Way::To(end) if end == NULL => return Err(Errno::NOTDIR),
            Way::To(end) => stat = root.link_stat(&end)?,
            Way::Untrusted(why) => return Ok(Some(why)),
        }
    }
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Errno::NOTDIR);
    }
    Ok(root.distrust(&stat))
}

/// The result of following a link.
pub(super) enum Way {
    /// The path it leads to, which has no further links.
    To(String),
    /// Why the link is not trusted: users other than root could redirect it.
    Untrusted(String),
}

/// Follows the links at `path`. Only root may be able to write to each directory on the way, or to
/// replace the entry that the path leads through: otherwise other users could choose the contents
/// of a policy or hide one.
pub(super) fn follow(root: &Root, path: &str) -> Result<Way, Errno> {
    let reversed = |path: &str| path.rsplit('/').map(str::to_owned).collect::<Vec<_>>();
    let mut ahead = reversed(path);
    let (mut end, mut links) = (String::new(), 0);
    while let Some(part) = ahead.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                end.truncate(end.rfind('/').unwrap_or(0));
                continue;
            }
            _ => {}
        }
        let next = if end.is_empty() { part } else { format!("{end}/{part}") };
        let entry = root.link_stat(&next);
        if !end.is_empty() {
            let directory = root.link_stat(&end)?;
            // A user who can remove or add an entry has as much control as one who can replace it.
            let why = match &entry {
                Ok(entry) => root.distrust_entry(&directory, entry),
                Err(_) => root.distrust(&directory),
            };
            if let Some(why) = why {
                let end = root.shown(&end);
                return Ok(Way::Untrusted(format!("leads through {end}, which {why}")));
            }
        }
        let entry = entry?;
        if FileType::from_raw_mode(entry.st_mode) != FileType::Symlink {
            end = next;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(Errno::LOOP);
        }
        let target = root.target(&next)?;
        // Another machine's tree has no /dev/null.
        if target == NULL {
            return Ok(Way::To(NULL.to_owned()));
        }
        if target.starts_with('/') {
            end.clear();
        }
        ahead.extend(reversed(&target));
    }
    Ok(Way::To(end))
}
