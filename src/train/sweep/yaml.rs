//! The file of a grid, as W&B has it: `parameters: {name: {values: […]}}`.

use std::{collections::HashSet, fmt, path::Path};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

use super::keys::{Key, TaskName, Value};
use crate::{Error, Result};

/// What a file may say of itself.
const KNOWN: [&str; 8] = [
    "parameters",
    "program",
    "task",
    "method",
    "name",
    "project",
    "command",
    "description",
];

/// A file's content: the task, and the values of each key it names, in its order.
pub(super) struct Contents {
    pub(super) task: TaskName,
    pub(super) parameters: Vec<(Key, Vec<Value>)>,
}

/// Reads the text of the file that messages call `path`.
///
/// # Errors
/// [`Error::Grid`] naming the key that is unknown, missing or wrong.
pub(super) fn read(path: &Path, text: &str) -> Result<Contents> {
    let error = |message: String| Error::Grid {
        path: path.to_path_buf(),
        message,
    };
    let mut options = serde_saphyr::Options::default();
    // YAML 1.1 takes `no`, which is a positional_type, for false.
    options.strict_booleans = true;
    options.with_snippet = false;
    let node: Node = serde_saphyr::from_str_with_options(text, options).map_err(|failure| {
        // In words for those who write files: by itself it tells how a program would take them all the same.
        let failure = failure.render_with_formatter(&serde_saphyr::UserMessageFormatter);
        error(format!("is no YAML that can be read: {failure}"))
    })?;
    let Node::Map(entries) = node else {
        let message = "`parameters` is missing: a grid is `parameters: {name: {values: […]}}`";
        return Err(error(message.into()));
    };
    for (name, _) in &entries {
        if !KNOWN.contains(&name.as_str()) {
            let known = KNOWN.join(", ");
            return Err(error(format!("unknown key `{name}`; known are {known}")));
        }
    }
    let entry = |wanted: &str| {
        let mut found = entries.iter().filter(|(name, _)| name == wanted);
        found.next().map(|(_, node)| node)
    };
    match entry("method").map(Node::scalar) {
        None | Some(Some("grid")) => {}
        Some(found) => {
            let found = found.unwrap_or("(no word)");
            return Err(error(format!(
                "`method` is {found}, and only `grid` can be run: every combination of the values"
            )));
        }
    }
    let task = task(entry("task"), entry("program")).map_err(error)?;
    let Some(Node::Map(parameters)) = entry("parameters") else {
        return Err(error(
            "`parameters` is missing, or no table of `name: {values: […]}`".into(),
        ));
    };
    let parameters = parameters.iter().map(|(name, node)| {
        parameter(task, name, node)
            .map_err(|message| error(format!("`parameters.{name}`: {message}")))
    });
    Ok(Contents {
        task,
        parameters: parameters.collect::<Result<_>>()?,
    })
}

fn task(task: Option<&Node>, program: Option<&Node>) -> Result<TaskName, String> {
    let by_name = match task.map(Node::scalar) {
        None => None,
        Some(name) => {
            let known = TaskName::ALL.into_iter();
            let named = known.clone().find(|task| Some(task.name()) == name);
            Some(named.ok_or_else(|| {
                let known: Vec<&str> = known.map(TaskName::name).collect();
                format!("`task` must be one of {}", known.join(", "))
            })?)
        }
    };
    let by_program = match program.map(Node::scalar) {
        None => None,
        Some(program) => {
            let file = program.and_then(|program| program.rsplit(['/', '\\']).next());
            let known = TaskName::ALL.into_iter();
            let named = known.clone().find(|task| Some(task.program()) == file);
            Some(named.ok_or_else(|| {
                let known: Vec<&str> = known.map(TaskName::program).collect();
                format!("`program` must be one of {}", known.join(", "))
            })?)
        }
    };
    match (by_name, by_program) {
        (Some(task), Some(other)) if task != other => Err(format!(
            "`task` is {}, and `program` is that of {}",
            task.name(),
            other.name()
        )),
        (Some(task), _) | (None, Some(task)) => Ok(task),
        (None, None) => Err("needs `task: induction` or `task: classification`".into()),
    }
}

fn parameter(task: TaskName, name: &str, node: &Node) -> Result<(Key, Vec<Value>), String> {
    let Some(key) = task.keys().find(|key| key.name() == name) else {
        let known: Vec<&str> = task.keys().map(Key::name).collect();
        return Err(format!(
            "unknown key; {} has {}",
            task.name(),
            known.join(", ")
        ));
    };
    let Node::Map(entries) = node else {
        return Err("must be a table, `{values: […]}` or `{value: …}`".into());
    };
    let scalars = match &entries[..] {
        [(name, Node::List(nodes))] if name == "values" => nodes.iter().collect(),
        [(name, node)] if name == "value" => vec![node],
        [(name, _)] if name == "values" => return Err("`values` must be a list".into()),
        [] => return Err("has neither `values` nor `value`".into()),
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|(name, _)| format!("`{name}`"))
                .collect();
            return Err(format!(
                "has {}; known is one of `values` and `value`",
                names.join(", ")
            ));
        }
    };
    if scalars.is_empty() {
        return Err("`values` is empty; give at least one".into());
    }
    let (mut values, mut known) = (Vec::new(), HashSet::new());
    for node in scalars {
        let text = node
            .scalar()
            .ok_or("a value must be a number, a word, true or false")?;
        let value = key.parse(text)?;
        if !known.insert(text_of(&value)) {
            return Err(format!("{value} is there twice"));
        }
        values.push(value);
    }
    Ok((key, values))
}

/// The same for values that are equal, and for no others.
fn text_of(value: &Value) -> String {
    match value {
        // 0 and -0 are equal.
        Value::Number(number) => (number + 0.0).to_string(),
        other => other.to_string(),
    }
}

/// A piece of YAML. What kind of value a scalar is, its key decides: `1e-2` is a word to one reader of YAML and a number
/// to another.
enum Node {
    Null,
    Scalar(String),
    List(Vec<Node>),
    /// In the order of the file.
    Map(Vec<(String, Node)>),
}

impl Node {
    fn scalar(&self) -> Option<&str> {
        match self {
            Node::Scalar(text) => Some(text),
            Node::Null | Node::List(_) | Node::Map(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table, a list, a number, a word, true or false")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}
