//! A description of a server that is not of the contract: where its streams are, how it is published to, where in its
//! messages the identifier is, and how it is started.

pub mod identity;
pub mod launch;
mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lastmile_wire::channel::STREAM_PREFIX;
use lastmile_wire::request::Protocol;

use crate::scenario::document::{Document, Entry, Mistake, Table, unknown};
use crate::scenario::values::parse_path;
use crate::target::Paths;
use crate::variant::Variant;
use identity::IdPlace;
pub use text::fill_game;
use text::placeholders;

/// A description.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// What the server is called.
    pub title: String,
    /// Where the description was read from, for what it names beside it.
    pub folder: PathBuf,
    /// How it is started; `None` for one that runs already.
    pub start: Option<Start>,
    /// Where its streams are.
    pub paths: Paths,
    /// How it is published to.
    pub publish: Publish,
    /// Where the identifier is; `None` where messages arrive as they were published.
    pub id: Option<IdPlace>,
}

/// How a server is started.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// The program and its arguments, with placeholders.
    pub command: Vec<String>,
    /// Further placeholders: a value, or an environment variable and the value where it is not set.
    pub variables: BTreeMap<String, Variable>,
    /// Files written before the start: from which template, and where to.
    pub files: Vec<(String, String)>,
    /// How it says that it is ready.
    pub ready: Ready,
    /// What has to be installed, in words for people.
    pub needs: Option<String>,
}

/// A placeholder of a description's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variable {
    /// The environment variable that holds its value.
    pub environment: Option<String>,
    /// Its value without that.
    pub value: Option<String>,
}

/// How a server says that it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// Its first line is a JSON object whose `http` is `HOST:PORT`.
    Line,
    /// It accepts connections on the port that it was told as `{port}`.
    Port,
}

/// How a server is published to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publish {
    /// By Redis, on a channel.
    Redis(String),
    /// By POST, to a URL.
    Http(String),
}

const KEYS: [&str; 5] = ["title", "paths", "publish", "message", "start"];
/// In what a result keeps of a description: a file's is where the file is.
const FOLDER: &str = "folder";
const PATHS: [&str; 3] = ["ws", "sse", "wt"];
const PUBLISH: [&str; 2] = ["redis", "http"];
const START: [&str; 5] = ["command", "variables", "files", "ready", "needs"];
/// Placeholders that a command has without saying so.
const GIVEN: [&str; 6] = ["folder", "scratch", "port", "redis", "redis-socket", "open-files"];

impl Adapter {
    /// Reads a description.
    ///
    /// # Errors
    /// The first mistake.
    pub fn parse(path: &str, folder: &Path, text: &str) -> Result<Self, Mistake> {
        let document = Document { path, text };
        let parsed = document.parse()?;
        let table = document.table(parsed.get_ref());
        table.check_keys(&KEYS)?;
        Self::read_from(&document, table, folder.to_owned())
    }

    /// Reads what a result keeps of a description.
    ///
    /// # Errors
    /// The first mistake.
    pub fn read_kept(document: &Document<'_>, table: Table<'_>) -> Result<Self, Mistake> {
        table.check_keys(&[&KEYS[..], &[FOLDER]].concat())?;
        let folder = table.optional(FOLDER, Entry::string)?.unwrap_or(".");
        Self::read_from(document, table, folder.into())
    }

    fn read_from(document: &Document<'_>, table: Table<'_>, folder: PathBuf) -> Result<Self, Mistake> {
        let missing = |what: &str| document.mistake(0..0, what.to_owned());
        let paths = table.optional("paths", |entry| read_paths(entry.table()?))?.unwrap_or_default();
        let publish = table.optional("publish", |entry| read_publish(entry))?;
        let start = table.optional("start", |entry| read_start(entry))?;
        let id = table.optional("message", |entry| {
            entry.table()?.check_keys(&["id"])?;
            entry.table()?.optional("id", |entry| entry.parsed(str::parse))
        })?;
        Ok(Self {
            title: table.optional("title", Entry::string)?.ok_or_else(|| missing("title is missing: what the server is called"))?.to_owned(),
            folder,
            start,
            paths,
            publish: publish
                .ok_or_else(|| missing("publish is missing: publish.redis = \"stream:{game}\" or publish.http = \"http://{address}/…\""))?,
            id: id.flatten(),
        })
    }

    /// The protocols that it says where to find.
    pub fn variants(&self) -> Vec<Variant> {
        let ws = self.paths.websocket.as_ref().map(|_| Variant::WS);
        let sse = self.paths.sse.as_ref().map(|_| Variant::SSE);
        let wt = self.paths.webtransport.as_ref().map(|_| Variant::WT_STREAM);
        ws.into_iter().chain(sse).chain(wt).collect()
    }

    /// Whether it says where to find a protocol.
    pub fn serves(&self, variant: Variant) -> bool {
        match variant.protocol() {
            Some(Protocol::WebSocket) => self.paths.websocket.is_some(),
            Some(Protocol::Sse) => self.paths.sse.is_some(),
            Some(Protocol::WebTransport) => self.paths.webtransport.is_some(),
            // Floors are no streams of the server's own paths.
            Some(Protocol::Tcp) | None => true,
        }
    }

    /// Whether each game has a stream of its own.
    pub fn tells_games_apart(&self) -> bool {
        let publish = match &self.publish {
            Publish::Redis(template) | Publish::Http(template) => template,
        };
        let paths = [&self.paths.websocket, &self.paths.sse, &self.paths.webtransport];
        paths.into_iter().flatten().chain([publish]).all(|template| template.contains("{game}"))
    }

    /// The channel in Redis, of a game or for every game with `{game}` in it.
    pub fn channel_template(&self) -> String {
        match &self.publish {
            Publish::Redis(template) => template.clone(),
            Publish::Http(_) => format!("{STREAM_PREFIX}{{game}}"),
        }
    }

    /// As a result keeps it.
    pub fn to_json(&self) -> serde_json::Value {
        let mut kept = serde_json::json!({
            "title": self.title,
            FOLDER: self.folder.to_string_lossy(),
            "paths": {},
            "publish": match &self.publish {
                Publish::Redis(template) => serde_json::json!({ "redis": template }),
                Publish::Http(template) => serde_json::json!({ "http": template }),
            },
        });
        let paths = [&self.paths.websocket, &self.paths.sse, &self.paths.webtransport];
        for (name, path) in PATHS.into_iter().zip(paths) {
            if let Some(path) = path {
                kept["paths"][name] = path.as_str().into();
            }
        }
        if let Some(id) = &self.id {
            kept["message"] = serde_json::json!({ "id": id.to_string() });
        }
        if let Some(start) = &self.start {
            kept["start"] = start.to_json();
        }
        kept
    }
}

impl Start {
    fn to_json(&self) -> serde_json::Value {
        let mut kept = serde_json::json!({
            "command": self.command,
            "ready": match self.ready { Ready::Line => "line", Ready::Port => "port" },
        });
        for (from, to) in &self.files {
            kept["files"][from] = to.as_str().into();
        }
        for (name, variable) in &self.variables {
            let fields = [("env", &variable.environment), ("default", &variable.value)];
            for (field, value) in fields {
                if let Some(value) = value {
                    kept["variables"][name][field] = value.as_str().into();
                }
            }
        }
        if let Some(needs) = &self.needs {
            kept["needs"] = needs.as_str().into();
        }
        kept
    }
}

fn read_paths(table: Table<'_>) -> Result<Paths, Mistake> {
    table.check_keys(&PATHS)?;
    let path = |key| table.optional(key, |entry| template(entry, &["game", "type"], parse_path));
    Ok(Paths { websocket: path("ws")?, sse: path("sse")?, webtransport: path("wt")? })
}

fn read_publish(entry: &Entry<'_>) -> Result<Publish, Mistake> {
    let table = entry.table()?;
    table.check_keys(&PUBLISH)?;
    let any = |text: &str| Ok::<_, String>(text.to_owned());
    let redis = table.optional("redis", |entry| template(entry, &["game"], any))?;
    let http = table.optional("http", |entry| {
        template(entry, &["address", "game"], |text| {
            // The address is not known yet, and any will do to see whether the rest is right.
            let example = text.replace("{address}", "127.0.0.1:1");
            example
                .parse::<crate::feed::HttpUrl>()
                .map(|_| text.to_owned())
                .map_err(|error| error.to_string())
        })
    })?;
    match (redis, http) {
        (Some(channel), None) => Ok(Publish::Redis(channel)),
        (None, Some(url)) => Ok(Publish::Http(url)),
        _ => Err(entry.mistake("give one of redis = \"CHANNEL\" and http = \"URL\"")),
    }
}

fn read_start(entry: &Entry<'_>) -> Result<Start, Mistake> {
    let table = entry.table()?;
    table.check_keys(&START)?;
    let mut variables = BTreeMap::new();
    if let Some(entry) = table.get("variables") {
        for variable in entry.table()?.entries() {
            variables.insert(variable.key().to_owned(), read_variable(&variable)?);
        }
    }
    let own: Vec<&str> = variables.keys().map(String::as_str).collect();
    let known = [&GIVEN[..], &own].concat();
    let any = |text: &str| Ok::<_, String>(text.to_owned());
    let command = table.optional("command", |entry| {
        entry.elements()?.iter().map(|word| template(word, &known, any)).collect::<Result<Vec<_>, _>>()
    })?;
    let mut files = Vec::new();
    if let Some(entry) = table.get("files") {
        for file in entry.table()?.entries() {
            files.push((file.key().to_owned(), template(&file, &known, any)?));
        }
    }
    let ready = |text: &str| match text {
        "line" => Ok(Ready::Line),
        "port" => Ok(Ready::Port),
        _ => Err(format!("{text:?} is neither line nor port")),
    };
    match command {
        Some(command) if !command.is_empty() => Ok(Start {
            command,
            variables,
            files,
            ready: table.optional("ready", |entry| entry.parsed(ready))?.unwrap_or(Ready::Line),
            needs: table.optional("needs", Entry::string)?.map(str::to_owned),
        }),
        _ => Err(entry.mistake("command is missing: the program and its arguments, as an array of strings")),
    }
}

fn read_variable(entry: &Entry<'_>) -> Result<Variable, Mistake> {
    if !entry.is_table() {
        return Ok(Variable { environment: None, value: Some(template_of_given(entry)?) });
    }
    let table = entry.table()?;
    table.check_keys(&["env", "default"])?;
    let variable = Variable {
        environment: table.optional("env", Entry::string)?.map(str::to_owned),
        value: table.optional("default", template_of_given)?,
    };
    if variable == Variable::default() {
        return Err(entry.mistake("give env, default, or both"));
    }
    Ok(variable)
}

fn template_of_given(entry: &Entry<'_>) -> Result<String, Mistake> {
    template(entry, &GIVEN, |text| Ok::<_, String>(text.to_owned()))
}

/// A string whose placeholders are all known.
fn template<E: std::fmt::Display>(
    entry: &Entry<'_>,
    known: &[&str],
    parse: impl Fn(&str) -> Result<String, E>,
) -> Result<String, Mistake> {
    let text = entry.parsed(parse)?;
    let stray = placeholders(&text).find(|name| !known.contains(name));
    let mistake = stray.map(|name| entry.mistake(unknown("placeholder", name, known)));
    mistake.map_or(Ok(text), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
        title = "a server"
        paths = { ws = "/live/{game}", sse = "/events?game={game}" }
        publish.http = "http://{address}/publish?game={game}"
        message.id = "/data/round_id"
        [start]
        command = ["{program}", "{scratch}/a.conf", "{port}"]
        ready = "port"
        needs = "a program"
        files = { "a.conf" = "{scratch}/a.conf" }
        variables = { program = { env = "A_PROGRAM", default = "{folder}/a" } }
    "#;

    fn told(text: &str) -> String {
        Adapter::parse("a.toml", Path::new("."), text).unwrap_err().to_string()
    }

    #[test]
    fn a_description_is_read_and_kept() {
        let adapter = Adapter::parse("a.toml", Path::new("/here"), WHOLE).unwrap();
        assert!(adapter.tells_games_apart());
        assert_eq!(adapter.variants(), [Variant::WS, Variant::SSE]);
        let kept = toml::to_string(&adapter.to_json()).unwrap();
        let document = Document { path: "kept", text: &kept };
        let parsed = document.parse().unwrap();
        assert_eq!(Adapter::read_kept(&document, document.table(parsed.get_ref())).unwrap(), adapter);
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let publish = "title = 'x'\npublish.redis = 'a'\n";
        for (text, problem) in [
            ("publish.redis = 'a'".to_owned(), "1:1: title is missing"),
            ("title = 'x'".to_owned(), "1:1: publish is missing"),
            (
                "title = 'x'\npublish.redis = 'a:{gmae}'".to_owned(),
                "2:17: redis: unknown placeholder \"gmae\"; did you mean \"game\"?",
            ),
            (
                "title = 'x'\npublish.http = 'https://{address}'".to_owned(),
                "2:16: http: \"https://127.0.0.1:1\" is no address to post to",
            ),
            (format!("{publish}publish.http = 'http://{{address}}/'"), "2:"),
            (format!("{publish}paths.ws = 'live'"), "3:12: ws: give a path"),
            (format!("{publish}paths.websocket = '/live'"), "3:7: unknown key \"websocket\""),
            (format!("{publish}[start]\nready = 'line'"), "3:"),
            (
                format!("{publish}[start]\ncommand = ['a', '{{prot}}']"),
                "4:17: command: unknown placeholder \"prot\"; did you mean \"port\"?",
            ),
            (format!("{publish}message.id = ''"), "3:14: id: "),
        ] {
            let told = told(&text);
            assert!(told.starts_with(&format!("a.toml:{problem}")), "{text}\n{told}");
        }
    }

    #[test]
    fn the_ready_descriptions_are_right() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/targets");
        let mut count = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let text = std::fs::read_to_string(&path).unwrap();
                let adapter = Adapter::parse(&path.to_string_lossy(), &folder, &text);
                assert!(adapter.unwrap_or_else(|mistake| panic!("{mistake}")).start.is_some());
                count += 1;
            }
        }
        assert!(count >= 3);
    }
}
