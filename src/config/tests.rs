use std::io::Write as _;

use tempfile::NamedTempFile;

use super::*;

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn variables(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn from_file(text: &str) -> Result<Settings, ConfigError> {
    Settings::load(Some(file(text).path()), []).map(|(settings, _)| settings)
}

fn from_environment(pairs: &[(&str, &str)]) -> (Settings, Vec<Warning>) {
    Settings::load(None, variables(pairs)).unwrap()
}

#[test]
fn the_defaults_are_valid_and_those_of_the_contract() {
    let (settings, warnings) = from_environment(&[]);
    assert_eq!(warnings, []);
    assert_eq!(
        (
            settings.zmq.pull_port,
            settings.zmq.pub_port,
            settings.http.port
        ),
        (5555, 5558, 8000)
    );
    assert_eq!(settings.translate.max_characters, 100_000);
    assert_eq!(settings.audio.max_bytes, 50 << 20);
    assert_eq!(settings.mongo.url, None);
    assert_eq!(settings.transcribe.threads, None);
    assert_eq!(settings.voices_dir(), Path::new("data/voices"));
}

#[test]
fn the_environment_wins_over_a_file_and_a_file_over_the_defaults() {
    let file = file("[zmq]\npull_port = 7001\npub_port = 7002\n");
    let environment = variables(&[("TRANSLATOR_ZMQ_PUB_PORT", " 7003 "), ("HTTP_PORT", "")]);
    let (settings, _) = Settings::load(Some(file.path()), environment).unwrap();
    assert_eq!(
        (
            settings.zmq.pull_port,
            settings.zmq.pub_port,
            settings.http.port
        ),
        (7001, 7003, 8000)
    );
}

#[test]
fn the_file_may_be_named_by_a_variable() {
    let file = file("data_dir = \"elsewhere\"");
    let environment = variables(&[("TRANSLATOR_CONFIG", file.path().to_str().unwrap())]);
    let (settings, _) = Settings::load(None, environment).unwrap();
    assert_eq!(settings.data_dir, Path::new("elsewhere"));
}

#[test]
fn misspelt_keys_name_themselves_the_file_and_what_was_meant() {
    let file =
        file("data_dri = \"x\"\n[zmq]\npull_prot = 1\n[quantum]\nx = 1\n[mongo]\nulr = \"x\"\n");
    let error = Settings::load(Some(file.path()), [])
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&file.path().display().to_string()),
        "{error}"
    );
    for expected in [
        "unknown key `data_dri`, did you mean `data_dir`?",
        "unknown key `zmq.pull_prot`, did you mean `zmq.pull_port`?",
        "unknown key `quantum`",
        "unknown key `mongo.ulr`, did you mean `mongo.url`?",
    ] {
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_value_of_the_wrong_type_names_its_key_and_file() {
    let file = file("[zmq]\npull_port = \"many\"\n");
    let error = Settings::load(Some(file.path()), []).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("zmq.pull_port"), "{source}");
    let name = file.path().file_name().unwrap().to_str().unwrap();
    assert!(source.contains(name), "{source}");
}

#[test]
fn all_problems_are_told_at_once() {
    let error = from_file(
        "[zmq]\npub_port = 5555\nmax_connections = 1\nreceive_buffer_bytes = 1\npublish_buffer_bytes = 1\nsubscriber_stall_secs = 0\n\
         [http]\nadmin_token = \"secret of 15 ch\"\ntoken = \"short\"\n[outbox]\nrepublish_secs = [30, 5]\n\
         [jobs]\nmax_queued_audio = 0\nmax_queued_bytes = 1\nmax_sender_percent = 0\nmax_running_bytes = 1\n\
         [synthesize]\nbitrate_kbps = 63\n[mongo]\nurl = \"postgres://user:secret@host\"\n\
         [audio]\nallowed_url_hosts = [\"https://x\"]\ndecode_memory_bytes = 1\n\
         [ledger]\nhistory_retention_days = 0\n[cache]\nmax_age_secs = 31536001\n\
         [hub]\nendpoint = \"hub\"\ntoken = \"a secret\"\nexported_repository = \"a/../b\"\n\
         [voices]\nmax_age_days = 0\nmin_duration_ms = 600001\n\
         [voice_api]\nallowed_webhook_hosts = [\"https://x\"]\nwebhook_timeout_secs = 0\n",
    )
    .unwrap_err();
    let ConfigError::Invalid(problems) = &error else {
        panic!("{error}");
    };
    let keys: Vec<_> = problems.iter().map(|problem| problem.key).collect();
    assert_eq!(
        keys,
        [
            "zmq.pub_port",
            "zmq.max_connections",
            "zmq.receive_buffer_bytes",
            "zmq.publish_buffer_bytes",
            "zmq.subscriber_stall_secs",
            "http.token",
            "http.admin_token",
            "outbox.republish_secs",
            "ledger.history_retention_days",
            "cache.max_age_secs",
            "jobs.max_queued_audio",
            "jobs.max_queued_bytes",
            "jobs.max_sender_percent",
            "jobs.max_running_bytes",
            "audio.decode_memory_bytes",
            "audio.allowed_url_hosts",
            "hub.endpoint",
            "hub.token",
            "hub.exported_repository",
            "synthesize.bitrate_kbps",
            "voices.max_age_days",
            "voices.min_duration_ms",
            "voice_api.allowed_webhook_hosts",
            "voice_api.webhook_timeout_secs",
            "mongo.url",
        ]
    );
    assert!(!error.to_string().contains("secret"));
}

#[test]
fn networks_that_are_none_are_told_with_their_key() {
    let error = from_file("[audio]\nallowed_url_networks = [\"10.0.0.0/99\"]\n").unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("audio.allowed_url_networks"), "{source}");
}

#[test]
fn a_token_is_never_shown() {
    let settings = from_file("[http]\nadmin_token = \"0123456789abcdef\"\n").unwrap();
    let shown = [format!("{settings:?}"), toml::to_string(&settings).unwrap()];
    assert!(shown.iter().all(|shown| shown.contains("(set)")));
    assert!(!shown.concat().contains("0123456789abcdef"));
}

#[test]
fn files_that_are_missing_or_broken_are_named() {
    let error = Settings::load(Some(Path::new("no/such.toml")), []).unwrap_err();
    assert_eq!(error.to_string(), "no/such.toml could not be read");
    assert!(matches!(
        from_file("[zmq\n"),
        Err(ConfigError::Syntax { .. })
    ));
}

#[test]
fn nonsense_in_the_environment_is_ignored_with_a_warning() {
    let (settings, warnings) = from_environment(&[
        ("TRANSLATOR_ZMQ_PULL_PORT", "70000"),
        ("AUDIO_MAX_SIZE_MB", "lots"),
        ("TTS_DEFAULT_FORMAT", "opus"),
        ("DATABASE_URL", "file:./dev.db"),
        ("ENABLE_AUDIO_SERVICES", "perhaps"),
        ("OMP_NUM_THREADS", "0"),
        ("ENABLE_VOICE_API", "perhaps"),
        ("TRANSLATION_CACHE_TTL", "-1"),
        ("CACHE_MAX_ENTRIES", "lots"),
        ("TRANSLATOR_REPUBLISH_SECS", "5, soon"),
        ("TRANSLATOR_LAZY_MODELS", "embed, voice"),
        ("AUDIO_URL_NETWORKS", "10.0.0.0/8, 10.0.0.0/99"),
        ("NOT_OURS", "x"),
    ]);
    assert_eq!(settings.zmq.pull_port, 5555);
    assert_eq!(settings.mongo.url, None);
    assert!(settings.audio.enabled);
    let texts: Vec<_> = warnings.iter().map(Warning::to_string).collect();
    assert_eq!(texts.len(), 12, "{texts:#?}");
    assert_eq!(
        texts[0],
        "environment variable TRANSLATOR_ZMQ_PULL_PORT is ignored: it is not a number from 0 to 65535"
    );
    assert!(!texts.concat().contains("dev.db"));
}

#[test]
fn variables_are_read_by_their_kind() {
    let (settings, warnings) = from_environment(&[
        ("AUDIO_MAX_SIZE_MB", "20"),
        ("AUDIO_URL_HOSTS", "a.example, b.example,"),
        ("AUDIO_URL_NETWORKS", "10.0.0.0/8, fd00::/8"),
        ("AUDIO_DECODE_MEMORY_MB", "256"),
        ("UPLOAD_PATH", "one"),
        ("AUDIO_UPLOAD_DIR", "two"),
        ("TRANSLATOR_DEVICE", "CUDA"),
        ("DEFAULT_LANGUAGE", "pt-BR"),
        ("LOG_LEVEL", "WARNING"),
        ("DEBUG", "true"),
        ("MONGO_WRITE", "none"),
        ("MONGO_STRING_IDS", "true"),
        ("DATABASE_URL", "mongodb://user:secret@host/meeshy"),
        ("OMP_NUM_THREADS", "2"),
        ("AUDIO_OUTPUT_DIR", "less"),
        ("TTS_OUTPUT_DIR", "more"),
        ("AUDIO_RETENTION_DAYS", "7"),
        ("TTS_UNSUPPORTED", "english"),
        ("TRANSLATOR_REPUBLISH_SECS", "7, 40"),
        ("TRANSLATOR_LAZY_MODELS", "Embed, synthesize"),
    ]);
    assert_eq!(warnings, []);
    assert_eq!(
        settings.models.lazy,
        [EngineName::Embed, EngineName::Synthesize]
    );
    assert_eq!(settings.outbox.republish_secs, [7, 40]);
    let (never, _) = from_environment(&[("TRANSLATOR_REPUBLISH_SECS", "none")]);
    assert!(never.outbox.republish_secs.is_empty());
    assert_eq!(settings.audio.max_bytes, 20 << 20);
    assert_eq!(settings.audio.allowed_url_hosts, ["a.example", "b.example"]);
    let networks: Vec<_> = ["10.0.0.0/8", "fd00::/8"]
        .map(|net| net.parse().unwrap())
        .into();
    assert_eq!(settings.audio.allowed_url_networks, networks);
    assert_eq!(settings.audio.decode_memory_bytes, 256 << 20);
    assert_eq!(
        settings.audio.upload_roots,
        [Path::new("one"), Path::new("two")]
    );
    assert_eq!(settings.models.device, DeviceChoice::Cuda);
    assert_eq!(settings.transcribe.device, DeviceChoice::Cuda);
    assert_eq!(settings.transcribe.default_language.as_str(), "pt");
    assert_eq!(
        settings.log.level,
        LogLevel::Warn,
        "a level that is given wins over DEBUG"
    );
    assert_eq!(settings.mongo.write, MongoWrite::None);
    assert!(settings.mongo.string_ids);
    assert_eq!(settings.synthesize.threads.unwrap().get(), 2);
    assert_eq!(settings.output.path, Path::new("more"));
    assert_eq!(settings.output.retention_days.unwrap().get(), 7);
    assert_eq!(settings.synthesize.unsupported, Unsupported::English);

    let url = settings.mongo.url.as_ref().unwrap();
    assert_eq!(url.expose(), "mongodb://user:secret@host/meeshy");
    let shown = format!("{settings:?}{}", serde_json::to_string(&settings).unwrap());
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn debug_alone_raises_the_log_level() {
    assert_eq!(
        from_environment(&[("DEBUG", "1")]).0.log.level,
        LogLevel::Debug
    );
    assert_eq!(
        from_environment(&[("DEBUG", "false")]).0.log.level,
        LogLevel::Info
    );
}

#[test]
fn the_default_file_documents_every_key_and_variable() {
    let (settings, _) = from_environment(&[]);
    let serde_json::Value::Object(sections) = serde_json::to_value(settings).unwrap() else {
        unreachable!();
    };
    for (section, values) in &sections {
        for key in values
            .as_object()
            .into_iter()
            .flat_map(|values| values.keys())
        {
            let text = DEFAULT_TOML
                .split(&format!("[{section}]\n"))
                .nth(1)
                .unwrap();
            let text = text.split("\n[").next().unwrap();
            let is_documented = text.lines().any(|line| {
                line.trim_start_matches("# ")
                    .starts_with(&format!("{key} = "))
            });
            assert!(is_documented, "{section}.{key}");
        }
    }
    for (variable, key) in environment::variable_names() {
        let name = key.rsplit('.').next().unwrap();
        let is_documented = DEFAULT_TOML
            .lines()
            .any(|line| line.contains(&format!("{name} = ")) && line.contains(variable))
            || variable == "DEBUG";
        assert!(is_documented, "{variable} of {key}");
    }
}

#[test]
fn the_example_environment_is_clean() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/example.env");
    let text = std::fs::read_to_string(path).unwrap();
    let pairs: Vec<_> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once('=').unwrap())
        .collect();
    let known: Vec<_> = environment::variable_names()
        .map(|(variable, _)| variable)
        .collect();
    for (name, _) in &pairs {
        assert!(known.contains(name), "{name}");
    }
    assert_eq!(from_environment(&pairs).1, []);
}
