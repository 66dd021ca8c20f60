//! The languages that the gateway lists, with their names in English and in the language itself.

/// Code, English name, native name, in the gateway's order (contract/zmq.md, section 6).
#[rustfmt::skip]
pub(super) const NAMES: &[(&str, &str, &str)] = &[
    ("en", "English", "English"), ("fr", "French", "Français"), ("es", "Spanish", "Español"),
    ("de", "German", "Deutsch"), ("it", "Italian", "Italiano"), ("pt", "Portuguese", "Português"),
    ("nl", "Dutch", "Nederlands"), ("pl", "Polish", "Polski"), ("ru", "Russian", "Русский"),
    ("uk", "Ukrainian", "Українська"), ("cs", "Czech", "Čeština"), ("ro", "Romanian", "Română"),
    ("hu", "Hungarian", "Magyar"), ("bg", "Bulgarian", "Български"), ("hr", "Croatian", "Hrvatski"),
    ("el", "Greek", "Ελληνικά"), ("tr", "Turkish", "Türkçe"), ("sv", "Swedish", "Svenska"),
    ("da", "Danish", "Dansk"), ("fi", "Finnish", "Suomi"), ("no", "Norwegian", "Norsk"),
    ("lt", "Lithuanian", "Lietuvių"), ("hy", "Armenian", "Հայերեն"), ("ar", "Arabic", "العربية"),
    ("he", "Hebrew", "עברית"), ("fa", "Persian", "فارسی"), ("hi", "Hindi", "हिन्दी"),
    ("bn", "Bengali", "বাংলা"), ("ur", "Urdu", "اردو"), ("th", "Thai", "ไทย"),
    ("vi", "Vietnamese", "Tiếng Việt"), ("id", "Indonesian", "Bahasa Indonesia"),
    ("ms", "Malay", "Bahasa Melayu"), ("ja", "Japanese", "日本語"), ("ko", "Korean", "한국어"),
    ("zh", "Chinese", "中文"), ("am", "Amharic", "አማርኛ"), ("sw", "Swahili", "Kiswahili"),
    ("yo", "Yoruba", "Yorùbá"), ("ha", "Hausa", "Hausa"), ("rw", "Kinyarwanda", "Ikinyarwanda"),
    ("rn", "Kirundi", "Ikirundi"), ("sn", "Shona", "chiShona"), ("lg", "Ganda", "Luganda"),
    ("om", "Oromo", "Afaan Oromoo"), ("ti", "Tigrinya", "ትግርኛ"), ("ny", "Chichewa", "Chichewa"),
    ("ee", "Ewe", "Eʋegbe"), ("mg", "Malagasy", "Malagasy"), ("so", "Somali", "Soomaali"),
    ("ln", "Lingala", "Lingála"), ("ig", "Igbo", "Igbo"), ("zu", "Zulu", "isiZulu"),
    ("xh", "Xhosa", "isiXhosa"), ("af", "Afrikaans", "Afrikaans"), ("wo", "Wolof", "Wolof"),
    ("bas", "Basaa", "Ɓasaá"), ("ksf", "Bafia", "Rikpa"), ("nnh", "Ngiemboon", "Ngiembɔɔn"),
    ("dua", "Duala", "Duálá"), ("ewo", "Ewondo", "Ewondo"), ("sk", "Slovak", "Slovenčina"),
    ("sl", "Slovenian", "Slovenščina"), ("sr", "Serbian", "Српски"), ("ca", "Catalan", "Català"),
    ("et", "Estonian", "Eesti"), ("lv", "Latvian", "Latviešu"), ("az", "Azerbaijani", "Azərbaycanca"),
    ("kk", "Kazakh", "Қазақша"), ("uz", "Uzbek", "Oʻzbekcha"), ("ka", "Georgian", "ქართული"),
    ("ta", "Tamil", "தமிழ்"), ("ne", "Nepali", "नेपाली"), ("my", "Burmese", "မြန်မာဘာသာ"),
    ("km", "Khmer", "ខ្មែរ"), ("lo", "Lao", "ລາວ"), ("tl", "Tagalog", "Tagalog"),
    ("ff", "Fula", "Fulfulde"), ("tw", "Twi", "Twi"), ("ak", "Akan", "Akan"),
    ("bm", "Bambara", "Bamanankan"), ("byv", "Medumba", "Mə̀dʉ̂mbɑ̀"), ("fan", "Fang", "Fang"),
];
