//! What the program is asked to do by its arguments; `main` does it.

use std::fmt::Write as _;

use crate::config::VARIABLES;

/// What the program does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// It serves.
    Serve,
    /// It says how it is used.
    Help,
    /// It names its version.
    Version,
    /// It says what a delivery would do.
    Explain {
        /// About what.
        about: About,
        /// Whether as JSON.
        json: bool,
    },
    /// It sends a ping.
    Ping {
        /// Where to.
        url: String,
        /// The file with the key to sign with.
        secret_file: Option<String>,
    },
    /// It takes back the polling intervals that it has set.
    RestorePolling {
        /// Whether it only says what it would do.
        dry_run: bool,
    },
}

/// What `explain` is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// A delivery in a file; `-` for standard input.
    File(String),
    /// A push that somebody only thinks of.
    Push {
        /// The URL of the repository.
        repo: String,
        /// The branch or tag.
        git_ref: String,
        /// The commit to which it would move.
        commit: Option<String>,
    },
}

/// Arguments that are none of ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadArguments {
    /// There is no such argument, or it is one too many.
    #[error("unknown argument {0:?}\n\n{usage}", usage = USAGE)]
    Unknown(String),
    /// Something is missing behind or beside it.
    #[error("{0} needs {1}\n\n{usage}", usage = USAGE)]
    Missing(String, &'static str),
}

/// The one-line form of [`help`].
const USAGE: &str = "usage: fleet-webhook [--help | --version]
       fleet-webhook explain [--json] FILE
       fleet-webhook explain [--json] --repo URL --ref REF [--commit ID]
       fleet-webhook ping [--secret-file FILE] URL
       fleet-webhook restore-polling [--dry-run]";

impl Command {
    /// Reads the arguments behind the program's name.
    ///
    /// # Errors
    /// [`BadArguments`] for the first one that is unknown, or after which something is missing.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, BadArguments> {
        let mut arguments = arguments.into_iter();
        let command = match arguments.next() {
            None => return Ok(Self::Serve),
            Some(first) => match first.as_str() {
                "--help" | "-h" => Self::Help,
                "--version" | "-V" => Self::Version,
                "explain" => return Self::explain(arguments),
                "ping" => return Self::ping(arguments),
                "restore-polling" => return Self::restore_polling(arguments),
                _ => return Err(BadArguments::Unknown(first)),
            },
        };
        arguments.next().map_or(Ok(command), |next| Err(BadArguments::Unknown(next)))
    }

    fn explain(mut arguments: impl Iterator<Item = String>) -> Result<Self, BadArguments> {
        let (mut file, mut repo, mut git_ref, mut commit, mut json) =
            (None, None, None, None, false);
        while let Some(argument) = arguments.next() {
            let slot = match argument.as_str() {
                "--json" => {
                    json = true;
                    continue;
                }
                "--help" | "-h" => return Ok(Self::Help),
                "--repo" => &mut repo,
                "--ref" => &mut git_ref,
                "--commit" => &mut commit,
                name if file.is_some() || (name.starts_with('-') && name != "-") => {
                    return Err(BadArguments::Unknown(argument));
                }
                _ => {
                    file = Some(argument);
                    continue;
                }
            };
            *slot = Some(arguments.next().ok_or(BadArguments::Missing(argument, "a value"))?);
        }
        let about = match (file, repo, git_ref, commit) {
            (Some(file), None, None, None) => About::File(file),
            (None, Some(repo), Some(git_ref), commit) => About::Push { repo, git_ref, commit },
            _ => {
                let either = "a FILE, or --repo URL and --ref REF, and not both";
                return Err(BadArguments::Missing("explain".to_owned(), either));
            }
        };
        Ok(Self::Explain { about, json })
    }

    fn ping(mut arguments: impl Iterator<Item = String>) -> Result<Self, BadArguments> {
        let (mut url, mut secret_file) = (None, None);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--secret-file" => {
                    let file = arguments.next().ok_or(BadArguments::Missing(argument, "a file"))?;
                    secret_file = Some(file);
                }
                "--help" | "-h" => return Ok(Self::Help),
                _ if argument.starts_with('-') || url.is_some() => {
                    return Err(BadArguments::Unknown(argument));
                }
                _ => url = Some(argument),
            }
        }
        let url = url.ok_or_else(|| BadArguments::Missing("ping".to_owned(), "a URL"))?;
        Ok(Self::Ping { url, secret_file })
    }

    fn restore_polling(arguments: impl Iterator<Item = String>) -> Result<Self, BadArguments> {
        let mut dry_run = false;
        for argument in arguments {
            match argument.as_str() {
                "--dry-run" => dry_run = true,
                "--help" | "-h" => return Ok(Self::Help),
                _ => return Err(BadArguments::Unknown(argument)),
            }
        }
        Ok(Self::RestorePolling { dry_run })
    }
}

/// The version, as a line.
pub fn version() -> String {
    concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"), "\n").to_owned()
}

/// How the program is used: each variable with its default and what it is for.
pub fn help() -> String {
    let mut help = format!(
        "{USAGE}\n\n\
         Receives the webhooks of Git servers for Rancher Fleet. It takes no arguments to serve.\n\n\
         explain says what a delivery (a Lambda event in FILE, or - for standard input) would do and why, and writes \
         nothing:\nexit code 0 if a GitRepo would be patched, 1 if none, 2 if it cannot tell.\n\n\
         ping sends what GitHub sends when a webhook is made to the URL of a service, signed with what FILE holds; unsigned \
         without it, or\nwhere there is no such file: exit code 0 if the service takes it, 1 if not, 2 if it cannot be sent.\n\n\
         restore-polling takes back the polling intervals that this program set and nobody else wants, so that Fleet \
         polls as\nbefore: exit code 0 if none of them is left, 1 if one may be. With --dry-run it only says which.\n\n\
         Environment variables say how:\n\n"
    );
    for variable in VARIABLES {
        let default = match variable.default {
            "" => String::new(),
            default => format!(" (default: {default})"),
        };
        writeln!(help, "  {:<22} {}{default}", variable.name, variable.says)
            .expect("a string takes it");
    }
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Command, BadArguments> {
        Command::parse(arguments.iter().map(|argument| (*argument).to_owned()))
    }

    #[test]
    fn without_arguments_it_serves() {
        assert_eq!(parse(&[]), Ok(Command::Serve));
        assert_eq!(parse(&["--help"]), Ok(Command::Help));
        assert_eq!(parse(&["--version"]), Ok(Command::Version));
        for asked in [
            &["explain", "--help"][..],
            &["explain", "--repo", "u", "-h"],
            &["ping", "--help"],
            &["restore-polling", "-h"],
        ] {
            assert_eq!(parse(asked), Ok(Command::Help), "{asked:?}");
        }
    }

    #[test]
    fn it_explains_a_file_or_a_push_that_is_only_supposed() {
        let file = |name: &str| About::File(name.to_owned());
        assert_eq!(
            parse(&["explain", "-"]),
            Ok(Command::Explain { about: file("-"), json: false })
        );
        let json = Command::Explain { about: file("a.json"), json: true };
        assert_eq!(parse(&["explain", "a.json", "--json"]), Ok(json));
        let push = About::Push { repo: "u".to_owned(), git_ref: "main".to_owned(), commit: None };
        let explained = Command::Explain { about: push, json: false };
        assert_eq!(parse(&["explain", "--ref", "main", "--repo", "u"]), Ok(explained));
        for half in [&["explain"][..], &["explain", "--repo", "u"], &["explain", "a", "b"]] {
            assert!(parse(half).is_err(), "{half:?}");
        }
    }

    #[test]
    fn a_ping_goes_to_one_url() {
        let ping = |secret_file: Option<&str>| {
            let secret_file = secret_file.map(str::to_owned);
            Ok(Command::Ping { url: "http://a/".to_owned(), secret_file })
        };
        assert_eq!(parse(&["ping", "http://a/"]), ping(None));
        assert_eq!(parse(&["ping", "--secret-file", "key", "http://a/"]), ping(Some("key")));
        for half in
            [&["ping"][..], &["ping", "a", "b"], &["ping", "--secret-file"], &["ping", "-x"]]
        {
            assert!(parse(half).is_err(), "{half:?}");
        }
    }

    #[test]
    fn intervals_are_taken_back_or_only_named() {
        let restore = |dry_run| Ok(Command::RestorePolling { dry_run });
        assert_eq!(parse(&["restore-polling"]), restore(false));
        assert_eq!(parse(&["restore-polling", "--dry-run"]), restore(true));
        assert!(parse(&["restore-polling", "shop"]).is_err());
    }

    #[test]
    fn what_it_does_not_know_is_answered_with_the_usage() {
        for arguments in [&["serve"][..], &["--port=80"], &["--help", "me"]] {
            let error = parse(arguments).expect_err("is refused").to_string();
            assert!(error.starts_with("unknown argument"), "{error}");
            assert!(error.contains("usage: fleet-webhook"), "{error}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (arguments, words) in [
            (&["explain"][..], "explain needs a FILE, or --repo URL and --ref REF, and not both\n"),
            (&["explain", "--repo", "u"], "explain needs a FILE, or --repo URL and --ref REF"),
            (&["explain", "--repo", "u", "--ref"], "--ref needs a value\n"),
            (&["ping"], "ping needs a URL\n"),
            (&["ping", "--secret-file"], "--secret-file needs a file\n"),
        ] {
            let error = parse(arguments).expect_err("is refused").to_string();
            assert!(error.starts_with(words), "{arguments:?}: {error}");
            assert!(error.contains("usage: fleet-webhook"), "{error}");
        }
    }

    #[test]
    fn the_help_has_a_line_for_each_variable_of_the_contract() {
        let (help, contract) = (help(), include_str!("../docs/contract.md"));
        let section = contract.split("\n## ").find(|section| section.starts_with("2. "));
        let table = section.expect("has a section 2").lines();
        let table = table.filter(|line| line.starts_with("| `"));
        let is_ours = |name: &&str| {
            name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
                && *name != "AWS_LAMBDA_RUNTIME_API"
        };
        let first_cells = table.filter_map(|row| row.split('|').nth(1));
        let named = first_cells.flat_map(|cell| cell.split('`')).filter(is_ours);
        let named: Vec<_> = named.filter(|name| name.len() > 3).collect();
        assert!(named.len() > 20, "{named:?}");
        for name in named {
            assert!(help.contains(&format!("  {name} ")), "{name} is missing in\n{help}");
        }
        for variable in VARIABLES {
            assert!(contract.contains(variable.name), "{} is not in the contract", variable.name);
        }
        assert!(help.lines().all(|line| line.len() <= 140), "{help}");
    }
}
