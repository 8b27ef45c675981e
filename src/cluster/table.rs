//! Reads the names and URLs of all GitRepos without reading the GitRepos: one server-side scan, streamed row by row.
//!
//! The API server prints a list as a [Table](https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables);
//! Fleet's column `Repo` is `spec.repo` verbatim. A row holds no namespace unless its metadata is asked for.

use std::{fmt, time::Duration};

use http::Method;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use tokio::time::Instant;

use super::{
    ApiError, Cluster, TABLE,
    attempts::{attempt_limit, by, read_until, retrying},
    paths::{encoded, gitrepos_path},
    request,
    streamed::{Each, parse},
};

/// How long a request for all GitRepos may take, to its last byte.
const LIST_TIME_LIMIT: Duration = Duration::from_secs(4);

/// How many GitRepos a page holds.
const PAGE_SIZE: usize = 500;

/// What a row of the Table shows of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Include {
    /// The columns alone.
    Nothing,
    /// Name and namespace as well.
    Metadata,
}

/// One GitRepo as a scan shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) repo: String,
    /// Known where the metadata or one namespace was asked for.
    pub(super) namespace: Option<String>,
}

/// What a Table held.
struct Table<T> {
    rows: T,
    /// Whether it has the columns that are read.
    has_repo: bool,
}

impl Cluster {
    /// Scans the GitRepos of a namespace, or of all, and folds each row into `start`.
    ///
    /// Where the Table has no column `Repo`, the list is read in pages.
    ///
    /// # Errors
    /// Any [`ApiError`].
    pub(super) async fn table<T: Clone + Send + 'static>(
        &self,
        namespace: Option<&str>,
        include: Include,
        start: T,
        fold: fn(&mut T, Row),
    ) -> Result<T, ApiError> {
        let object = if include == Include::Metadata { "Metadata" } else { "None" };
        let path = format!("{}?includeObject={object}", gitrepos_path(namespace));
        let path = format!("{path}&resourceVersion=0");
        let until = read_until();
        let read = || by(until, self.read_table(namespace, &path, start.clone(), fold, until));
        let began = Instant::now();
        let table = retrying(until, read).await.map_err(|error| self.timed(began, error))?;
        match table.has_repo {
            true => Ok(table.rows),
            false => self.list(namespace, start, fold).await,
        }
    }

    async fn read_table<T: Send + 'static>(
        &self,
        namespace: Option<&str>,
        path: &str,
        rows: T,
        fold: fn(&mut T, Row),
        until: Instant,
    ) -> Result<Table<T>, ApiError> {
        let seed = TableSeed { namespace: namespace.map(str::to_owned), rows, fold };
        let ask = request(Method::GET, path, TABLE, Vec::new());
        let _seat = self.seat().await;
        let answer = self.within(attempt_limit(until), self.send(ask)).await?;
        self.within(LIST_TIME_LIMIT, parse(answer.into_body(), seed)).await
    }

    /// Reads the GitRepos themselves, page by page, for a cluster whose CRD prints no `Repo`.
    async fn list<T>(
        &self,
        namespace: Option<&str>,
        mut rows: T,
        fold: fn(&mut T, Row),
    ) -> Result<T, ApiError> {
        let mut next = String::new();
        loop {
            let path = gitrepos_path(namespace);
            let page: GitRepoList = self
                .object(&format!("{path}?limit={PAGE_SIZE}&continue={}", encoded(&next)))
                .await?;
            for gitrepo in page.items {
                let (metadata, repo) = (gitrepo.metadata, gitrepo.spec.repo.unwrap_or_default());
                fold(
                    &mut rows,
                    Row {
                        name: metadata.name.unwrap_or_default(),
                        repo,
                        namespace: metadata.namespace,
                    },
                );
            }
            next = page.metadata.next_page.unwrap_or_default();
            if next.is_empty() {
                return Ok(rows);
            }
        }
    }
}

/// Reads a Table and folds its rows.
struct TableSeed<T> {
    /// The namespace of every row, where one was asked for.
    namespace: Option<String>,
    rows: T,
    fold: fn(&mut T, Row),
}

impl<'de, T> DeserializeSeed<'de> for TableSeed<T> {
    type Value = Table<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T> Visitor<'de> for TableSeed<T> {
    type Value = Table<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Table")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut table: A) -> Result<Self::Value, A::Error> {
        let mut columns = None;
        while let Some(key) = table.next_key::<String>()? {
            match key.as_str() {
                "columnDefinitions" => columns = positions(&table.next_value::<Vec<Column>>()?),
                "rows" => {
                    let Some((name, repo)) = columns else {
                        let _skipped: IgnoredAny = table.next_value()?;
                        continue;
                    };
                    let (namespace, rows, fold) = (&self.namespace, &mut self.rows, self.fold);
                    let take = |row: TableRow| fold(rows, row.read(name, repo, namespace.as_ref()));
                    table.next_value_seed(Each::new(take))?;
                }
                _ => {
                    let _skipped: IgnoredAny = table.next_value()?;
                }
            }
        }
        Ok(Table { rows: self.rows, has_repo: columns.is_some() })
    }
}

#[derive(Deserialize)]
struct ListMetadata {
    #[serde(default, rename = "continue")]
    next_page: Option<String>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
}

/// Where the columns `Name` and `Repo` stand.
fn positions(columns: &[Column]) -> Option<(usize, usize)> {
    let position = |name| columns.iter().position(|column| column.name == name);
    Some((position("Name")?, position("Repo")?))
}

#[derive(Deserialize)]
struct TableRow {
    cells: Vec<serde_json::Value>,
    object: Option<PartialObject>,
}

impl TableRow {
    /// What its cells hold in the columns of these numbers; `namespace` is that of every row, if one was asked for.
    fn read(mut self, name: usize, repo: usize, namespace: Option<&String>) -> Row {
        let mut text = |at: usize| match self.cells.get_mut(at).map(std::mem::take) {
            Some(serde_json::Value::String(text)) => text,
            _ => String::new(),
        };
        let (name, repo) = (text(name), text(repo));
        let own = self.object.and_then(|object| object.metadata.namespace);
        Row { name, repo, namespace: own.or_else(|| namespace.cloned()) }
    }
}

#[derive(Deserialize)]
struct PartialObject {
    metadata: PartialMetadata,
}

#[derive(Deserialize)]
struct PartialMetadata {
    name: Option<String>,
    namespace: Option<String>,
}

#[derive(Deserialize)]
struct GitRepoList {
    metadata: ListMetadata,
    items: Vec<ListedGitRepo>,
}

#[derive(Deserialize)]
struct ListedGitRepo {
    metadata: PartialMetadata,
    #[serde(default)]
    spec: ListedSpec,
}

#[derive(Default, Deserialize)]
struct ListedSpec {
    repo: Option<String>,
}
