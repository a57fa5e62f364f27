// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl firmware`: shows the contents of a GPU firmware image.

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use protheap_board::{Problem, firmware};
use protheap_csf::Image;
use serde::Serialize;

/// Which image, and how to print it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Image, such as mali_csffw.bin; a compressed image must have the suffix .xz or .zst
    file: PathBuf,
    /// Print one JSON object, with sizes and addresses in bytes
    #[arg(long)]
    json: bool,
}

/// Reads the image, and returns the text to print.
pub(crate) fn run(args: &Args) -> Result<String> {
    let bytes = firmware::read_file(&args.file)?;
    let image = Image::parse(&bytes).map_err(|error| Problem {
        path: args.file.to_string_lossy().into_owned(),
        message: error.to_string(),
    })?;
    let report = Report::of(&image);
    Ok(if args.json { serde_json::to_string(&report)? + "\n" } else { report.to_string() })
}

/// The output: serialized as JSON, or displayed as text.
#[derive(Serialize)]
struct Report<'a> {
    /// Version of the file format: MAJOR.MINOR.
    version: String,
    /// Git commit of the build, if the image contains one: printable ASCII, from
    /// [`Image::git_sha`].
    git_sha: Option<&'a str>,
    sections: Vec<Section>,
    protected_bytes: u64,
}

/// A range of the MCU's address space, in bytes.
#[derive(Serialize)]
struct Section {
    va_start: u32,
    va_end: u32,
    bytes: u64,
    flags: Vec<&'static str>,
}

impl<'a> Report<'a> {
    fn of(image: &Image<'a>) -> Self {
        let (major, minor) = image.version();
        let section = |section: &protheap_csf::Section| Section {
            va_start: section.va_start,
            va_end: section.va_end,
            bytes: section.bytes(),
            flags: section.flags.words().collect(),
        };
        Self {
            version: format!("{major}.{minor}"),
            git_sha: image.git_sha(),
            sections: image.sections().map(section).collect(),
            protected_bytes: image.protected_bytes(),
        }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "format     {}", self.version)?;
        writeln!(f, "git sha    {}", self.git_sha.unwrap_or("-"))?;
        writeln!(f, "protected  {} KiB\n", self.protected_bytes / 1024)?;
        writeln!(f, "start       end             KiB  flags")?;
        for Section { va_start, va_end, bytes, flags } in &self.sections {
            let flags = if flags.is_empty() { "-".to_owned() } else { flags.join(" ") };
            writeln!(f, "{va_start:#010x}  {va_end:#010x}  {:>7}  {flags}", bytes / 1024)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_values_are_null_or_a_dash() {
        let section =
            Section { va_start: 0, va_end: 0xffff_f000, bytes: 0xffff_f000, flags: vec![] };
        let report = Report {
            version: "0.2".to_owned(),
            git_sha: None,
            sections: vec![section],
            protected_bytes: 0,
        };
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"version":"0.2","git_sha":null,"sections":[{"va_start":0,"va_end":4294963200,"bytes":4294963200,"flags":[]}],"protected_bytes":0}"#
        );
        assert_eq!(
            report.to_string(),
            "format     0.2\n\
             git sha    -\n\
             protected  0 KiB\n\
             \n\
             start       end             KiB  flags\n\
             0x00000000  0xfffff000  4194300  -\n"
        );
    }
}
