//! The rows of a damaged database, one by one.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use rusqlite::types::{ToSql, Value, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, params_from_iter};

use super::super::{LedgerError, digest, io_error, schema};
use super::Salvage;
use crate::domain::timestamp::now_unix_ms;

/// Ids that are looked up one by one in a table of which a part cannot be read.
const MAX_LOOKUPS: i64 = 200_000;

/// Rows that are read of one table: damaged pages may lead in circles.
const MAX_ROWS: u64 = 20_000_000;

/// A table of the new database.
struct Table {
    name: String,
    columns: Vec<Column>,
    /// Its columns in the order of the primary key.
    key: Vec<String>,
    has_rowid: bool,
}

struct Column {
    name: String,
    kind: String,
    is_required: bool,
}

/// What is known of the rows of one table.
#[derive(Default)]
struct Outcome {
    /// Ids of rows that are in the new database; empty for tables without ids.
    kept: BTreeSet<i64>,
    /// Ids that may have had rows and cannot be read.
    lost: BTreeSet<i64>,
    /// Rows that were read and cannot be kept.
    refused: u64,
    /// False when a part could not be read.
    is_whole: bool,
}

/// Makes a database and puts every row into it that can be read from the mended copy of a damaged one.
/// It is one file and durable when this returns.
pub(super) fn carry_over(copy: &Path, fresh: &Path) -> Result<Salvage, LedgerError> {
    let to = schema::open_writer(fresh)?;
    // The file alone is put in place. From a write-ahead log the rows would get into it after COMMIT only, and
    // SQLite does not tell when the disk has no room for that.
    to.pragma_update(None, "journal_mode", "DELETE")?;
    // Orphans are dealt with at the end.
    to.pragma_update(None, "foreign_keys", false)?;
    // Nothing of it is read here: an error is not that of a damaged file.
    let from = Connection::open_with_flags(
        copy,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    to.execute_batch("BEGIN IMMEDIATE")?;
    let salvage = carry_tables(&from, &to)?;
    to.execute_batch("COMMIT")?;
    to.close().map_err(|(_, error)| error)?;
    require_one_file(fresh)?;
    Ok(salvage)
}

/// Refuses a database that is not whole without a log or a journal beside it.
fn require_one_file(database: &Path) -> Result<(), LedgerError> {
    for suffix in ["-wal", "-journal"] {
        let path = super::beside(database, suffix);
        let is_there = path.try_exists();
        if is_there.map_err(|source| io_error(&path, source))? {
            let source = io::Error::other("it holds a part of the new database");
            return Err(io_error(&path, source));
        }
    }
    Ok(())
}

impl Salvage {
    fn nothing() -> Self {
        Self {
            set_aside: String::new(),
            kept_jobs: 0,
            unfinished_jobs: 0,
            pending_events: 0,
            lost_jobs: None,
            lost_rows: 0,
            unread_tables: Vec::new(),
        }
    }
}

fn carry_tables(from: &Connection, to: &Connection) -> Result<Salvage, LedgerError> {
    let mut salvage = Salvage::nothing();
    let mut jobs = Outcome::default();
    let mut events = BTreeSet::new();
    for table in tables(to)? {
        let outcome = carry_table(from, to, &table, &jobs.kept, &events)?;
        if !outcome.is_whole {
            salvage.unread_tables.push(table.name.clone());
        }
        salvage.lost_rows += outcome.refused;
        match table.name.as_str() {
            "jobs" => jobs = outcome,
            "events" => {
                salvage.lost_rows += outcome.lost.len() as u64;
                events = outcome.kept;
            }
            _ => salvage.lost_rows += outcome.lost.len() as u64,
        }
    }
    // Rows of other tables tell of jobs that are not there.
    let mut known = ids(from, "SELECT id FROM jobs INDEXED BY jobs_by_state");
    for table in [
        "job_frames",
        "job_items",
        "checkpoints",
        "events",
        "documents",
    ] {
        known.extend(ids(to, &format!("SELECT DISTINCT job_id FROM {table}")));
    }
    jobs.lost.extend(known.difference(&jobs.kept));
    let has_read_jobs = jobs.is_whole || !jobs.kept.is_empty();
    salvage.lost_jobs = has_read_jobs.then_some(jobs.lost.len() as u64 + jobs.refused);
    salvage.lost_rows -= jobs.refused.min(salvage.lost_rows);
    salvage.lost_rows += settle_orphans(to)?;
    // Rows of a version before digests are taken for what they are.
    let has_digests = |names: Vec<String>| names.iter().any(|name| name == "digest");
    if !column_names(from, "jobs").map_or(true, has_digests) {
        digest::fill(to)?;
    }
    let count =
        |query: &str| -> rusqlite::Result<i64> { to.query_row(query, [], |row| row.get(0)) };
    salvage.kept_jobs = jobs.kept.len() as u64;
    let unfinished = "SELECT count(*) FROM jobs WHERE state IN ('accepted', 'running')";
    salvage.unfinished_jobs = count(unfinished)?.unsigned_abs();
    let pending = "SELECT count(*) FROM events WHERE state = 'pending'";
    salvage.pending_events = count(pending)?.unsigned_abs();
    Ok(salvage)
}

/// The tables whose rows are carried over, parents first. Nothing depends on the cache.
fn tables(to: &Connection) -> Result<Vec<Table>, LedgerError> {
    let mut tables: Vec<Table> = to
        .prepare(
            "SELECT name, wr FROM pragma_table_list
             WHERE schema = 'main' AND type = 'table' AND name <> 'cache'
               AND name NOT LIKE 'sqlite_%'",
        )?
        .query_map([], |row| {
            Ok(Table {
                name: row.get(0)?,
                columns: Vec::new(),
                key: Vec::new(),
                has_rowid: !row.get::<_, bool>(1)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    for table in &mut tables {
        let mut statement = to.prepare(
            "SELECT name, type, \"notnull\", pk FROM pragma_table_info(?1) ORDER BY cid",
        )?;
        let mut rows = statement.query([&table.name])?;
        let mut key = Vec::new();
        while let Some(row) = rows.next()? {
            let column = Column {
                name: row.get(0)?,
                kind: row.get(1)?,
                is_required: row.get(2)?,
            };
            let position: i64 = row.get(3)?;
            if position > 0 {
                key.push((position, column.name.clone()));
            }
            table.columns.push(column);
        }
        key.sort();
        table.key = key.into_iter().map(|(_, name)| name).collect();
    }
    let rank = |table: &Table| match table.name.as_str() {
        "jobs" => 0,
        "events" => 1,
        _ => 2,
    };
    tables.sort_by_key(rank);
    Ok(tables)
}

fn carry_table(
    from: &Connection,
    to: &Connection,
    table: &Table,
    jobs: &BTreeSet<i64>,
    events: &BTreeSet<i64>,
) -> Result<Outcome, LedgerError> {
    // The definitions were mended, so the names are those of the version that wrote the database.
    let names = column_names(from, &table.name).unwrap_or_default();
    let columns: Vec<&Column> = table
        .columns
        .iter()
        .filter(|column| names.contains(&column.name))
        .collect();
    if columns.is_empty() {
        return Ok(Outcome::default());
    }
    let select = format!(
        "SELECT {} FROM {} NOT INDEXED",
        listed(&columns),
        table.name
    );
    let mut carrier = Carrier {
        from,
        to,
        table,
        columns: &columns,
        outcome: Outcome::default(),
    };
    carrier.outcome.is_whole = carrier.read(&select, None)?;
    if carrier.outcome.is_whole {
        return Ok(carrier.outcome);
    }
    let backwards: Vec<String> = table
        .key
        .iter()
        .map(|name| format!("{name} DESC"))
        .collect();
    carrier.read(&format!("{select} ORDER BY {}", backwards.join(", ")), None)?;
    if table.has_rowid {
        let by_id = format!("{select} WHERE id = ?1");
        for id in carrier.missing() {
            if !carrier.read(&by_id, Some(id))? {
                carrier.outcome.lost.insert(id);
            }
        }
    } else {
        let parents = match table.key.first().map(String::as_str) {
            Some("job_id") => jobs,
            Some("event_id") => events,
            _ => return Ok(carrier.outcome),
        };
        let of_parent = format!("{select} WHERE {} = ?1", table.key[0]);
        for id in parents {
            carrier.read(&of_parent, Some(*id))?;
        }
    }
    Ok(carrier.outcome)
}

/// Carries the rows of one table.
struct Carrier<'a> {
    from: &'a Connection,
    to: &'a Connection,
    table: &'a Table,
    /// Those that the damaged table has, too.
    columns: &'a [&'a Column],
    outcome: Outcome,
}

impl Carrier<'_> {
    /// Keeps the rows of a query; false when it fails before its end.
    fn read(&mut self, query: &str, id: Option<i64>) -> Result<bool, LedgerError> {
        let Ok(mut statement) = self.from.prepare_cached(query) else {
            return Ok(false);
        };
        let Ok(mut rows) = statement.query(params_from_iter(id)) else {
            return Ok(false);
        };
        for _ in 0..MAX_ROWS {
            match rows.next() {
                Ok(Some(row)) => self.keep(row)?,
                Ok(None) => return Ok(true),
                Err(_) => return Ok(false),
            }
        }
        Ok(false)
    }

    fn keep(&mut self, row: &Row<'_>) -> Result<(), LedgerError> {
        let mut values: Vec<Value> = self
            .columns
            .iter()
            .enumerate()
            .map(|(position, column)| conform(row.get_ref(position).ok(), column))
            .collect();
        let id = match values.first() {
            Some(Value::Integer(id)) if self.table.has_rowid => Some(*id),
            _ => None,
        };
        if id.is_some_and(|id| self.outcome.kept.contains(&id)) {
            return Ok(());
        }
        let all: Vec<usize> = (0..self.columns.len()).collect();
        // A state that is none: the row begins anew.
        let stateless: Vec<usize> = all
            .iter()
            .copied()
            .filter(|position| self.columns[*position].name != "state")
            .collect();
        let mut is_kept = self.insert(&all, &values)? || self.insert(&stateless, &values)?;
        if let (Some(id), false, "jobs") = (id, is_kept, self.table.name.as_str()) {
            // Names that another job has: it is damaged, and can at least end.
            for (value, column) in values.iter_mut().zip(self.columns) {
                match column.name.as_str() {
                    "key" => *value = Value::Text(format!("damaged-{id}")),
                    "public_id" => *value = Value::Null,
                    _ => {}
                }
            }
            is_kept = self.insert(&stateless, &values)?;
        }
        match id {
            Some(id) if is_kept => {
                self.outcome.kept.insert(id);
            }
            Some(_) => self.outcome.refused += 1,
            // Read a second time, backwards, a row without an id is there already.
            None => {}
        }
        Ok(())
    }

    fn insert(&self, positions: &[usize], values: &[Value]) -> Result<bool, LedgerError> {
        let names: Vec<&str> = positions
            .iter()
            .map(|position| self.columns[*position].name.as_str())
            .collect();
        let places = vec!["?"; names.len()].join(", ");
        let inserted = self
            .to
            .prepare_cached(&format!(
                "INSERT OR IGNORE INTO {} ({}) VALUES ({places})",
                self.table.name,
                names.join(", ")
            ))?
            .execute(params_from_iter(
                positions
                    .iter()
                    .map(|position| &values[*position] as &dyn ToSql),
            ));
        match inserted {
            Ok(count) => Ok(count > 0),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Ids that rows may have which were not read: ids are given out in order.
    fn missing(&self) -> Vec<i64> {
        let given = self
            .from
            .query_row(
                "SELECT max(seq) FROM sqlite_sequence WHERE name = ?1",
                [&self.table.name],
                |row| row.get::<_, i64>(0),
            )
            .unwrap_or_default();
        let kept = &self.outcome.kept;
        let oldest = kept.first().copied().unwrap_or(1);
        let first = oldest.saturating_sub(MAX_LOOKUPS / 2).max(1);
        // A number beyond that is a damaged one.
        let end = first.saturating_add(MAX_LOOKUPS);
        let newest = kept.range(..end).next_back().copied();
        let last = newest.max(Some(given).filter(|given| *given < end));
        let last = last.unwrap_or_default();
        (first..=last).filter(|id| !kept.contains(id)).collect()
    }
}

/// The columns of a damaged table, in order.
fn column_names(from: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    from.prepare("SELECT name FROM pragma_table_info(?1) ORDER BY cid")?
        .query_map([table], |row| row.get(0))?
        .collect()
}

fn listed(columns: &[&Column]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    names.join(", ")
}

/// A value that the column can hold: the one that is there, or what is nearest to it.
fn conform(value: Option<ValueRef<'_>>, column: &Column) -> Value {
    let text = |bytes: &[u8]| Value::Text(String::from_utf8_lossy(bytes).into_owned());
    match (column.kind.as_str(), value) {
        ("INTEGER", Some(ValueRef::Integer(value))) => Value::Integer(value),
        ("REAL", Some(ValueRef::Real(value))) => Value::Real(value),
        ("TEXT", Some(ValueRef::Text(bytes))) => text(bytes),
        ("BLOB", Some(ValueRef::Blob(bytes))) => Value::Blob(bytes.to_vec()),
        _ if !column.is_required => Value::Null,
        ("INTEGER", _) => Value::Integer(0),
        ("REAL", _) => Value::Real(0.0),
        ("BLOB", _) => Value::Blob(Vec::new()),
        _ => Value::Text(String::new()),
    }
}

/// The ids that a query gives, up to where it fails.
fn ids(connection: &Connection, query: &str) -> BTreeSet<i64> {
    let mut ids = BTreeSet::new();
    if let Ok(mut statement) = connection.prepare(query)
        && let Ok(mut rows) = statement.query([])
    {
        while let Ok(Some(row)) = rows.next() {
            ids.extend(row.get::<_, i64>(0).ok());
        }
    }
    ids
}

/// Lets what waits of lost jobs go out, under jobs that have ended; deletes other rows without parents.
fn settle_orphans(to: &Connection) -> Result<u64, LedgerError> {
    to.execute(
        "INSERT INTO jobs (id, key, kind, lane, task_id, state, received_at_ms, finished_at_ms,
                           request, reason)
         SELECT job_id, 'lost-' || job_id, 'lost', '', '', 'failed', ?1, ?1, '', 'internal'
         FROM (SELECT job_id FROM events WHERE state = 'pending'
               UNION SELECT job_id FROM documents WHERE state = 'pending')
         WHERE job_id NOT IN (SELECT id FROM jobs)",
        [now_unix_ms()],
    )?;
    let mut deleted = 0;
    for table in [
        "events",
        "documents",
        "job_frames",
        "job_items",
        "checkpoints",
    ] {
        let orphans = format!("DELETE FROM {table} WHERE job_id NOT IN (SELECT id FROM jobs)");
        deleted += to.execute(&orphans, [])? as u64;
    }
    // What had lost its state is not for the gateway all the same.
    to.execute(
        "UPDATE events SET state = 'settled' WHERE state = 'pending'
         AND job_id IN (SELECT id FROM jobs WHERE audience = 'http')",
        [],
    )?;
    let frames = "DELETE FROM event_frames WHERE event_id NOT IN (SELECT id FROM events)";
    deleted += to.execute(frames, [])? as u64;
    Ok(deleted)
}
