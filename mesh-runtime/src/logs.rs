//! Logs go to stderr through `tracing`; the level can be changed while the program runs.
//!
//! A level is one word, or a list such as `info,kube=debug`. The parser is ours because those of tracing-subscriber
//! take a bare word that isn't a level for the name of a module: `inof` would silence everything, without an error.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Registry, fmt as layer, reload};

/// What a list that names only modules means for all others.
const DEFAULT_LEVEL: LevelFilter = LevelFilter::INFO;

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object in each line, fields at its top level.
    Json,
}

impl FromStr for Format {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(LogError::Format(other.to_owned())),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Why logging couldn't be set up, or its level not be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Not a level, nor a list of levels.
    #[error(
        "log level {text:?}: {part:?} isn't one of off, error, warn, info, debug, trace; \
         write one of them, or a list such as \"info,kube=debug\""
    )]
    Level {
        /// All that was given.
        text: String,
        /// The part of it that can't be understood.
        part: String,
    },
    /// Not a format.
    #[error("log format {0:?} isn't one of text, json")]
    Format(String),
    /// `init` was called before, in this process.
    #[error("logging has been set up already; call logs::init once, in main")]
    AlreadySet,
}

/// Changes the level of the running program. Clones change the same one.
#[derive(Clone)]
pub struct LevelHandle {
    filter: reload::Handle<Targets, Registry>,
    text: Arc<Mutex<String>>,
}

impl LevelHandle {
    /// Changes the level; a bad one is refused and changes nothing.
    pub fn set(&self, level: &str) -> Result<(), LogError> {
        let targets = parse(level)?;
        // Held across the reload, so that of two callers the text and the filter are of the same one.
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        // It can only fail when the subscriber is gone: then there are no logs, and no level to change.
        let _ = self.filter.reload(targets);
        level.trim().clone_into(&mut text);
        Ok(())
    }

    /// The level in force, as it was given.
    pub fn get(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Sets logging up for the whole process.
pub fn init(level: &str, format: Format) -> Result<LevelHandle, LogError> {
    let (subscriber, handle) = build(level, format, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::AlreadySet)?;
    Ok(handle)
}

pub(crate) fn build<W>(
    level: &str,
    format: Format,
    writer: W,
) -> Result<(Box<dyn Subscriber + Send + Sync>, LevelHandle), LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, reload) = reload::Layer::new(parse(level)?);
    let base = Registry::default().with(filter);
    let subscriber: Box<dyn Subscriber + Send + Sync> = match format {
        Format::Text => Box::new(base.with(layer::layer().with_writer(writer))),
        Format::Json => Box::new(base.with(layer::layer().json().flatten_event(true).with_writer(writer))),
    };
    Ok((subscriber, LevelHandle { filter: reload, text: Arc::new(Mutex::new(level.trim().to_owned())) }))
}

fn parse(text: &str) -> Result<Targets, LogError> {
    let bad = |part: &str| LogError::Level { text: text.to_owned(), part: part.to_owned() };
    let mut targets = Targets::new().with_default(DEFAULT_LEVEL);
    for part in text.split(',').map(str::trim) {
        targets = match part.split_once('=') {
            None => targets.with_default(level(part).ok_or_else(|| bad(part))?),
            Some((module, word)) if !module.trim().is_empty() => {
                targets.with_target(module.trim(), level(word.trim()).ok_or_else(|| bad(part))?)
            }
            Some(_) => return Err(bad(part)),
        };
    }
    Ok(targets)
}

fn level(word: &str) -> Option<LevelFilter> {
    // `LevelFilter` takes numbers too; a number says nothing to the reader of a manifest.
    if word.is_empty() || word.bytes().any(|b| b.is_ascii_digit()) { None } else { word.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Written;

    #[test]
    fn a_word_that_is_no_level_is_refused_with_what_to_write_instead() {
        for (text, part) in [
            ("inof", "inof"),
            ("", ""),
            ("info,", ""),
            ("info,kube", "kube"),
            ("kube=verbose", "kube=verbose"),
            ("=debug", "=debug"),
            ("3", "3"),
        ] {
            let err = parse(text).unwrap_err();
            assert_eq!(err, LogError::Level { text: text.into(), part: part.into() });
            assert!(err.to_string().contains("off, error, warn, info, debug, trace"), "{err}");
        }
    }

    #[test]
    fn the_level_changes_while_the_program_runs() {
        let out = Written::default();
        let (subscriber, level) = build("warn", Format::Text, out.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("one");
            level.set("info,hyper=error").unwrap();
            tracing::info!("two");
            tracing::info!(target: "hyper::proto", "three");
            assert!(level.set("loud").is_err());
            tracing::info!("four");
        });
        assert_eq!(level.get(), "info,hyper=error");
        let said: Vec<bool> = ["one", "two", "three", "four"].iter().map(|word| out.text().contains(word)).collect();
        assert_eq!(said, [false, true, false, true]);
    }

    #[test]
    fn a_list_of_modules_leaves_all_others_at_info() {
        let out = Written::default();
        let (subscriber, _level) = build("kube=debug", Format::Text, out.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("plain");
            tracing::debug!("detail");
            tracing::debug!(target: "kube::client", "from kube");
        });
        let said: Vec<bool> = ["plain", "detail", "from kube"].iter().map(|word| out.text().contains(word)).collect();
        assert_eq!(said, [true, false, true]);
    }

    #[test]
    fn json_lines_carry_their_fields_at_the_top() {
        let out = Written::default();
        let (subscriber, _level) = build("info", Format::Json, out.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || tracing::info!(port = 15021, "listening"));
        let line = out.text();
        assert!(line.contains(r#""message":"listening","port":15021"#), "{line}");
    }

    #[test]
    fn formats_have_names() {
        assert_eq!("json".parse(), Ok(Format::Json));
        assert_eq!("text".parse(), Ok(Format::Text));
        assert_eq!("yaml".parse::<Format>(), Err(LogError::Format("yaml".into())));
        assert_eq!(Format::Json.to_string(), "json");
    }
}
