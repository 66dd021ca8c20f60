//! Environment variables: which setting each of them is.

use std::fmt;

use config::{Value, ValueKind};
use ipnet::IpNet;

use super::hub::{is_endpoint, is_exported_repository, is_token};
use super::mongo::is_mongodb;

/// How the text of a variable is read.
enum Kind {
    Text,
    Boolean,
    /// A whole number from the first to the second.
    Number(i64, i64),
    /// A number of mebibytes, for a setting in bytes.
    Mebibytes,
    /// Items between commas.
    List,
    /// Whole numbers between commas; `none` for none.
    Numbers,
    /// Networks between commas, such as `10.0.0.0/8`.
    Networks,
    /// One item of a list that several variables add to.
    Item,
    /// Some of these words, in any case, with commas; `none` for none.
    Words(&'static [&'static str]),
    /// One of these words, in any case; the pair's second is the setting's word for it.
    Word(&'static [(&'static str, &'static str)]),
    Language,
    /// True means the log level `debug`.
    Debug,
    /// A text of this kind.
    Checked(fn(&str) -> bool, &'static str),
}

const PORT: Kind = Kind::Number(0, 65_535);
const COUNT: Kind = Kind::Number(1, 1_000_000_000);
const DEVICE: Kind = Kind::Word(&[
    ("auto", "auto"),
    ("cpu", "cpu"),
    ("cuda", "cuda"),
    ("gpu", "cuda"),
]);
const ENGINES: Kind = Kind::Words(&[
    "transcribe",
    "translate",
    "embed",
    "condition",
    "synthesize",
]);
const FORMAT: Kind = Kind::Word(&[("mp3", "mp3")]);
const LEVEL: Kind = Kind::Word(&[
    ("critical", "error"),
    ("error", "error"),
    ("warning", "warn"),
    ("warn", "warn"),
    ("info", "info"),
    ("debug", "debug"),
    ("trace", "trace"),
]);

/// Every variable with the key that it sets. Where several set one key, the last of them wins.
#[rustfmt::skip]
const VARIABLES: &[(&str, &str, Kind)] = &[
    ("TRANSLATOR_DATA_DIR", "data_dir", Kind::Text),
    ("TRANSLATOR_ZMQ_BIND_ADDRESS", "zmq.bind_address", Kind::Text),
    ("TRANSLATOR_ZMQ_PULL_PORT", "zmq.pull_port", PORT),
    ("TRANSLATOR_ZMQ_PUB_PORT", "zmq.pub_port", PORT),
    ("TRANSLATOR_REPUBLISH_SECS", "outbox.republish_secs", Kind::Numbers),
    ("TRANSLATOR_HTTP_BIND_ADDRESS", "http.bind_address", Kind::Text),
    ("TRANSLATOR_ADMIN_TOKEN", "http.admin_token", Kind::Text),
    ("TRANSLATOR_HTTP_TIMEOUT_SECS", "http.request_timeout_secs", COUNT),
    ("FASTAPI_PORT", "http.port", PORT),
    ("HTTP_PORT", "http.port", PORT),
    ("TRANSLATION_CACHE_TTL", "cache.max_age_secs", Kind::Number(0, 31_536_000)),
    ("CACHE_MAX_ENTRIES", "cache.max_entries", Kind::Number(0, 10_000_000)),
    ("MAX_CONCURRENT_JOBS", "jobs.max_concurrent_audio", COUNT),
    ("MAX_QUEUE_SIZE", "jobs.max_queued_audio", COUNT),
    ("ENABLE_AUDIO_SERVICES", "audio.enabled", Kind::Boolean),
    ("AUDIO_MAX_SIZE_MB", "audio.max_bytes", Kind::Mebibytes),
    ("AUDIO_MAX_DURATION_SECS", "audio.max_duration_secs", COUNT),
    ("AUDIO_DECODE_MEMORY_MB", "audio.decode_memory_bytes", Kind::Mebibytes),
    ("UPLOAD_PATH", "audio.upload_roots", Kind::Item),
    ("UPLOAD_DIR", "audio.upload_roots", Kind::Item),
    ("AUDIO_UPLOAD_DIR", "audio.upload_roots", Kind::Item),
    ("AUDIO_URL_HOSTS", "audio.allowed_url_hosts", Kind::List),
    ("AUDIO_URL_NETWORKS", "audio.allowed_url_networks", Kind::Networks),
    ("OUTPUT_DIR", "output.path", Kind::Text),
    ("AUDIO_OUTPUT_DIR", "output.path", Kind::Text),
    ("TTS_OUTPUT_DIR", "output.path", Kind::Text),
    ("AUDIO_RETENTION_DAYS", "output.retention_days", COUNT),
    ("MODELS_PATH", "models.path", Kind::Text),
    ("ORT_DYLIB_PATH", "models.onnxruntime_library", Kind::Text),
    ("TTS_DEVICE", "models.device", DEVICE),
    ("WHISPER_DEVICE", "transcribe.device", DEVICE),
    ("TRANSLATOR_DEVICE", "models.device", DEVICE),
    ("TRANSLATOR_DEVICE", "transcribe.device", DEVICE),
    ("TRANSLATOR_ACCEPT_LICENSES", "models.accept_licenses", Kind::List),
    ("TRANSLATOR_LAZY_MODELS", "models.lazy", ENGINES),
    ("HF_ENDPOINT", "hub.endpoint", Kind::Checked(is_endpoint, "an address such as https://huggingface.co")),
    ("HF_TOKEN", "hub.token", Kind::Checked(is_token, "visible ASCII characters")),
    ("HF_HUB_OFFLINE", "hub.offline", Kind::Boolean),
    ("TRANSLATOR_EXPORTED_REPOSITORY", "hub.exported_repository",
        Kind::Checked(is_exported_repository, "owner/name, or owner/name@revision")),
    ("WHISPER_MODEL", "transcribe.model", Kind::Text),
    ("WHISPER_BEAM_SIZE", "transcribe.beam_size", Kind::Number(1, 8)),
    ("DEFAULT_LANGUAGE", "transcribe.default_language", Kind::Language),
    ("OMP_NUM_THREADS", "transcribe.threads", Kind::Number(1, 1024)),
    ("OMP_NUM_THREADS", "translate.threads", Kind::Number(1, 1024)),
    ("OMP_NUM_THREADS", "synthesize.threads", Kind::Number(1, 1024)),
    ("TRANSLATOR_BATCH_SIZE", "translate.max_batch_rows", COUNT),
    ("MAX_TEXT_LENGTH", "translate.max_characters", COUNT),
    ("MAX_TRANSLATION_LENGTH", "translate.max_characters", COUNT),
    ("TRANSLATOR_DEFAULT_DETECT_LANG", "translate.default_detect_language", Kind::Language),
    ("TRANSLATION_TIMEOUT", "translate.timeout_secs", COUNT),
    ("TTS_MAX_WORKERS", "synthesize.slots", COUNT),
    ("TTS_SYNTH_TIMEOUT_S", "synthesize.timeout_secs", COUNT),
    ("TRANSLATOR_BASE_VOICE", "synthesize.base_voice",
        Kind::Word(&[("auto", "auto"), ("always", "always"), ("off", "off")])),
    ("TRANSLATOR_ESPEAK_PROGRAM", "synthesize.espeak_program", Kind::Text),
    ("TRANSLATOR_CONVERT_BASE_VOICE", "synthesize.convert_base_voice", Kind::Boolean),
    ("TTS_UNSUPPORTED", "synthesize.unsupported",
        Kind::Word(&[("skip", "skip"), ("english", "english"), ("related", "related")])),
    ("TTS_MAX_EAGER_LANGUAGES", "synthesize.max_eager_languages", COUNT),
    ("TTS_DEFAULT_FORMAT", "synthesize.format", FORMAT),
    ("AUDIO_PIPELINE_TTS_FORMAT", "synthesize.format", FORMAT),
    ("VOICE_MODEL_CACHE_DIR", "voices.path", Kind::Text),
    ("VOICE_MODEL_MAX_AGE_DAYS", "voices.max_age_days", COUNT),
    ("VOICE_MIN_DURATION_MS", "voices.min_duration_ms", Kind::Number(0, 600_000)),
    ("ENABLE_VOICE_API", "voice_api.enabled", Kind::Boolean),
    ("WEBHOOK_HOSTS", "voice_api.allowed_webhook_hosts", Kind::List),
    ("DATABASE_URL", "mongo.url", Kind::Checked(is_mongodb, "a MongoDB address")),
    ("MONGO_WRITE", "mongo.write", Kind::Word(&[("seed", "seed"), ("none", "none")])),
    ("MONGO_STRING_IDS", "mongo.string_ids", Kind::Boolean),
    ("DEBUG", "log.level", Kind::Debug),
    ("LOG_LEVEL", "log.level", LEVEL),
    ("LOG_FORMAT", "log.format", Kind::Word(&[("text", "text"), ("json", "json")])),
];

/// A variable that could not be used and was ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Its name. The value is not kept: it may be a secret in the wrong place.
    pub variable: &'static str,
    /// What it should have been.
    pub expected: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "environment variable {} is ignored: it is not {}",
            self.variable, self.expected
        )
    }
}

/// The settings that `environment` makes, in the order to apply them, and what of it can't be used.
/// An empty variable is the same as none.
pub(super) fn read(environment: &[(String, String)]) -> (Vec<(&'static str, Value)>, Vec<Warning>) {
    let mut settings: Vec<(&str, Value)> = Vec::new();
    let mut warnings: Vec<Warning> = Vec::new();
    for (variable, key, kind) in VARIABLES {
        let text = environment
            .iter()
            .find_map(|(name, value)| (name == variable).then_some(value.trim()))
            .unwrap_or_default();
        if text.is_empty() {
            continue;
        }
        match kind.read(text) {
            Some(ValueKind::Nil) => {}
            Some(value) => add(&mut settings, key, kind, value),
            None => {
                let warning = Warning {
                    variable,
                    expected: kind.to_string(),
                };
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
        }
    }
    (settings, warnings)
}

fn add(
    settings: &mut Vec<(&'static str, Value)>,
    key: &'static str,
    kind: &Kind,
    value: ValueKind,
) {
    let value = Value::new(None, value);
    if !matches!(kind, Kind::Item) {
        settings.push((key, value));
        return;
    }
    let earlier = settings.iter_mut().find(|(earlier, _)| *earlier == key);
    match earlier.map(|(_, list)| &mut list.kind) {
        Some(ValueKind::Array(items)) => items.push(value),
        _ => settings.push((key, Value::new(None, vec![value]))),
    }
}

impl Kind {
    /// The setting's value, `Nil` for none, or `None` if the text can't be read.
    fn read(&self, text: &str) -> Option<ValueKind> {
        match self {
            Self::Text | Self::Item => Some(text.into()),
            Self::Boolean => boolean(text).map(ValueKind::from),
            Self::Number(least, most) => {
                let number: i64 = text.parse().ok()?;
                (least..=most).contains(&&number).then(|| number.into())
            }
            Self::Mebibytes => {
                let mebibytes: i64 = text
                    .parse()
                    .ok()
                    .filter(|number| (1..=1024).contains(number))?;
                Some((mebibytes << 20).into())
            }
            Self::List => Some(items(text).collect::<Vec<_>>().into()),
            Self::Networks => {
                let mut networks = items(text);
                let are_networks = networks.all(|network| network.parse::<IpNet>().is_ok());
                are_networks.then(|| items(text).collect::<Vec<_>>().into())
            }
            Self::Numbers if text.eq_ignore_ascii_case("none") => Some(Vec::<i64>::new().into()),
            Self::Numbers => {
                let numbers = text.split(',').map(|number| number.trim().parse::<i64>());
                let numbers: Vec<i64> = numbers.collect::<Result<_, _>>().ok()?;
                Some(numbers.into())
            }
            Self::Words(_) if text.eq_ignore_ascii_case("none") => {
                Some(Vec::<String>::new().into())
            }
            Self::Words(words) => {
                let chosen: Vec<String> = items(&text.to_ascii_lowercase()).collect();
                let are_known = chosen.iter().all(|item| words.contains(&item.as_str()));
                are_known.then(|| chosen.into())
            }
            Self::Word(words) => words.iter().find_map(|(word, setting)| {
                word.eq_ignore_ascii_case(text).then(|| (*setting).into())
            }),
            Self::Language => {
                crate::domain::Language::parse(text).map(|language| language.as_str().into())
            }
            Self::Debug => boolean(text).map(|debug| {
                if debug {
                    "debug".into()
                } else {
                    ValueKind::Nil
                }
            }),
            Self::Checked(is_valid, _) => is_valid(text).then(|| text.into()),
        }
    }
}

/// What a variable should hold.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text | Self::Item | Self::List => f.write_str("a text"),
            Self::Numbers => f.write_str("none, or numbers with commas"),
            Self::Boolean | Self::Debug => f.write_str("true or false"),
            Self::Networks => f.write_str("networks such as 10.0.0.0/8"),
            Self::Number(least, most) => write!(f, "a number from {least} to {most}"),
            Self::Mebibytes => f.write_str("a number from 1 to 1024"),
            Self::Word(words) => {
                let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                write!(f, "one of {}", words.join(", "))
            }
            Self::Words(words) => write!(f, "none, or some of {}", words.join(", ")),
            Self::Language => f.write_str("a language code"),
            Self::Checked(_, expected) => f.write_str(expected),
        }
    }
}

/// What stands between commas.
fn items(text: &str) -> impl Iterator<Item = String> {
    let items = text.split(',').map(str::trim);
    items.filter(|item| !item.is_empty()).map(str::to_owned)
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
pub(super) fn variable_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    VARIABLES.iter().map(|(variable, key, _)| (*variable, *key))
}
