-- A store of version 0001: its fixed tables, and those of the streams shop.orders (with a mapping)
-- and shop.lines (with drop_duplicates), as the program of that version created them.
CREATE TABLE attribute (
  stream TEXT COLLATE "C" NOT NULL,
  type TEXT COLLATE "C" NOT NULL,
  key TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  seq_to BIGINT NOT NULL,
  seq_from BIGINT NOT NULL,
  value TEXT,
  PRIMARY KEY (stream, type, key, name, seq_to)
);
CREATE TABLE entity (
  stream TEXT COLLATE "C" NOT NULL,
  type TEXT COLLATE "C" NOT NULL,
  key TEXT COLLATE "C" NOT NULL,
  attributes JSONB NOT NULL,
  record TEXT COLLATE "C" NOT NULL,
  deleted BOOLEAN NOT NULL,
  seq_from BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  PRIMARY KEY (stream, type, key)
);
CREATE TABLE relation (
  stream TEXT COLLATE "C" NOT NULL,
  type TEXT COLLATE "C" NOT NULL,
  from_type TEXT COLLATE "C" NOT NULL,
  to_type TEXT COLLATE "C" NOT NULL,
  record TEXT COLLATE "C" NOT NULL,
  seq_from BIGINT NOT NULL,
  seq_to BIGINT NOT NULL,
  from_key TEXT COLLATE "C" NOT NULL,
  to_key TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (stream, type, from_type, to_type, record, seq_from)
);
CREATE INDEX relation_from ON relation (from_type, from_key, type);
CREATE INDEX relation_to ON relation (to_type, to_key, type);
CREATE TABLE tidegate_head (
  id SERIAL NOT NULL,
  seq BIGINT NOT NULL,
  PRIMARY KEY (id)
);
CREATE TABLE tidegate_quarantine (
  stream TEXT COLLATE "C" NOT NULL,
  key TEXT COLLATE "C" NOT NULL,
  state TEXT NOT NULL,
  token BIGINT NOT NULL,
  source_hash BIGINT NOT NULL,
  reasons TEXT NOT NULL,
  row TEXT NOT NULL,
  run_id TEXT NOT NULL,
  seq BIGINT NOT NULL,
  held_at TEXT NOT NULL,
  PRIMARY KEY (stream, key)
);
CREATE TABLE tidegate_run (
  seq BIGINT NOT NULL,
  stream TEXT COLLATE "C" NOT NULL,
  batch TEXT COLLATE "C" NOT NULL,
  run_id TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  mode TEXT NOT NULL,
  window_since TEXT,
  window_until TEXT,
  watermark_before TEXT,
  watermark_after TEXT,
  read BIGINT NOT NULL,
  pulled BIGINT NOT NULL,
  inserted BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  deleted BIGINT NOT NULL,
  unchanged BIGINT NOT NULL,
  stale BIGINT NOT NULL,
  deduplicated BIGINT NOT NULL,
  quarantined BIGINT NOT NULL,
  cleaned TEXT NOT NULL,
  checks TEXT NOT NULL,
  committed_at TEXT NOT NULL,
  PRIMARY KEY (seq),
  UNIQUE (stream, batch)
);
CREATE TABLE tidegate_stream (
  name TEXT COLLATE "C" NOT NULL,
  watermark TEXT,
  generation BIGINT NOT NULL,
  reads BIGINT NOT NULL,
  observed_at TEXT,
  loaded_at TEXT,
  columns TEXT,
  PRIMARY KEY (name)
);
CREATE TABLE shop__orders (
  _key TEXT COLLATE "C" NOT NULL,
  id BIGINT,
  customer TEXT,
  total NUMERIC(12, 2),
  gone BOOLEAN,
  rate DOUBLE PRECISION,
  note TEXT,
  raw BYTEA,
  day DATE,
  at TIME WITHOUT TIME ZONE,
  seen TIMESTAMP WITH TIME ZONE,
  size INTEGER,
  exact NUMERIC,
  updated_at TIMESTAMP WITHOUT TIME ZONE,
  _ref_id TEXT COLLATE "C",
  _ref_customer TEXT COLLATE "C",
  _token BIGINT,
  _hash BIGINT,
  _source_hash BIGINT,
  _deleted BOOLEAN,
  _same TEXT COLLATE "C",
  _seq BIGINT,
  _duplicate BOOLEAN DEFAULT false NOT NULL,
  PRIMARY KEY (_key)
);
CREATE INDEX shop__orders__ref_customer ON shop__orders (_ref_customer);
CREATE INDEX shop__orders__ref_id ON shop__orders (_ref_id);
CREATE INDEX shop__orders__seq ON shop__orders (_seq);
CREATE TABLE shop__orders__history (
  _key TEXT COLLATE "C" NOT NULL,
  id BIGINT,
  customer TEXT,
  total NUMERIC(12, 2),
  gone BOOLEAN,
  rate DOUBLE PRECISION,
  note TEXT,
  raw BYTEA,
  day DATE,
  at TIME WITHOUT TIME ZONE,
  seen TIMESTAMP WITH TIME ZONE,
  size INTEGER,
  exact NUMERIC,
  updated_at TIMESTAMP WITHOUT TIME ZONE,
  _ref_id TEXT COLLATE "C",
  _ref_customer TEXT COLLATE "C",
  _token BIGINT,
  _hash BIGINT,
  _source_hash BIGINT,
  _deleted BOOLEAN,
  _same TEXT COLLATE "C",
  _seq BIGINT,
  _seq_to BIGINT NOT NULL,
  PRIMARY KEY (_key, _seq_to)
);
CREATE INDEX shop__orders__history__seq_to ON shop__orders__history (_seq_to);
CREATE TABLE shop__lines (
  _key TEXT COLLATE "C" NOT NULL,
  id BIGINT,
  product TEXT,
  amount SMALLINT,
  gone BOOLEAN,
  _token BIGINT,
  _hash BIGINT,
  _source_hash BIGINT,
  _deleted BOOLEAN,
  _same TEXT COLLATE "C",
  _seq BIGINT,
  _duplicate BOOLEAN DEFAULT false NOT NULL,
  PRIMARY KEY (_key)
);
CREATE INDEX shop__lines__same ON shop__lines (_same);
CREATE INDEX shop__lines__seq ON shop__lines (_seq);
CREATE TABLE shop__lines__history (
  _key TEXT COLLATE "C" NOT NULL,
  id BIGINT,
  product TEXT,
  amount SMALLINT,
  gone BOOLEAN,
  _token BIGINT,
  _hash BIGINT,
  _source_hash BIGINT,
  _deleted BOOLEAN,
  _same TEXT COLLATE "C",
  _seq BIGINT,
  _seq_to BIGINT NOT NULL,
  PRIMARY KEY (_key, _seq_to)
);
CREATE INDEX shop__lines__history__seq_to ON shop__lines__history (_seq_to);
INSERT INTO tidegate_head (id, seq) VALUES (1, 0);
