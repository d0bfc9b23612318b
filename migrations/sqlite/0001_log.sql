-- Tallystick's tables in an SQLite file. Each file holds one log, and belongs to
-- one serving process at a time. The program also keeps a table "migrations",
-- which records the numbers of files like this one.
--
-- Nothing here is ever updated or deleted, with three exceptions: the one row a
-- tree in "heads", the last tile of each level above 0 in "tiles" until it is
-- full, and trees.state. Times are Unix seconds, as they are signed.

-- One Merkle tree of the log.
create table trees (
	position   integer primary key,         -- order of creation
	tree_id    integer not null unique check (tree_id > 0),
	origin     text    not null,            -- first line of its checkpoints
	api        text    not null,            -- API generation, such as rekor-v1
	state      text    not null check (state in ('active', 'read-only')),
	base_index integer not null check (base_index >= 0), -- added to an index gives the global index
	public_key blob    not null,            -- DER SubjectPublicKeyInfo
	created    integer not null
) strict;

-- A log has one active tree for each API.
create unique index trees_active on trees (api) where state = 'active';

-- The newest committed head of each tree.
create table heads (
	tree_id         integer primary key,
	size            integer not null check (size >= 0),
	root            blob    not null check (length(root) = 32),
	time            integer not null,               -- of the newest leaf; 0 for none
	checkpoint      blob    not null default x'',   -- newest published checkpoint, as signed
	checkpoint_size integer not null default 0      -- the tree size that it covers
) strict;

-- The leaves. A leaf's body is what was hashed: LeafHash = SHA-256(0x00 || body).
-- This table has a rowid, unlike search_keys, because SQLite stores rows of a
-- kilobyte well only in such tables.
create table leaves (
	tree_id     integer not null,
	idx         integer not null check (idx >= 0),
	time        integer not null,      -- integrated time
	hash        blob    not null check (length(hash) = 32),
	key_set     blob    not null check (length(key_set) = 32), -- digest of the leaf's rows in search_keys
	attestation blob             check (length(attestation) = 32), -- SHA-256, if one is stored
	body        blob    not null
) strict;

create unique index leaves_idx on leaves (tree_id, idx);

-- Finds duplicates, and makes them impossible.
create unique index leaves_hash on leaves (tree_id, hash);

-- The search index: one row for each thing an entry is found by, in order of the
-- leaves. The key is one byte for the type (1 digest, 2 public key, 3 identity,
-- 4 issuer), one for the form of the value, then the value. Forms: 0 as it is; in
-- binary instead of lower-case hexadecimal: 1 without prefix (32 bytes), and after
-- "sha1:" 2, "sha256:" 3, "sha384:" 4, "sha512:" 5.
create table search_keys (
	tree_id integer not null,
	idx     integer not null,  -- of the leaf
	key     blob    not null,
	primary key (tree_id, idx, key)
) strict, without rowid;

-- A search reads it backwards: newest first.
create index search_keys_by_key on search_keys (tree_id, key, idx);

-- Tiles (C2SP tlog-tiles): those of level 0 that are full, and all of higher
-- levels. Partial tiles of level 0 are read from the leaves.
create table tiles (
	tree_id integer not null,
	level   integer not null check (level >= 0),
	idx     integer not null check (idx >= 0),
	hashes  blob    not null check (length(hashes) between 32 and 8192 and length(hashes) % 32 = 0)
) strict;

create unique index tiles_name on tiles (tree_id, level, idx);

-- Attestations: what entries whose body holds only a hash of it were made from.
create table attestations (
	tree_id integer not null,
	digest  blob    not null check (length(digest) = 32), -- SHA-256 of data
	data    blob    not null
) strict;

create unique index attestations_digest on attestations (tree_id, digest);
