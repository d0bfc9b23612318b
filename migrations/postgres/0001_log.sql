-- Tallystick's tables. They live in a schema of their own, "tallystick", so that
-- they can share a database with others, and be backed up or dropped together.
-- The program creates that schema (unless the administrator did) and, in it,
-- the table "migrations", which records the numbers of files like this one.
--
-- Nothing here is ever updated or deleted, with three exceptions: the one row a
-- tree in "heads", the last tile of each level above 0 in "tiles" until it is
-- full, and trees.state. So tables do not bloat, need no vacuum to stay small
-- (only to be frozen), and compress or move to other storage as they are.
--
-- Large logs. Every B-tree begins with tree_id. So the part that is written to is
-- that of the active tree, and of that:
--   leaves_pkey, tiles_pkey, search_keys_by_leaf   grow at the right edge: one hot page each;
--   leaves_hash, search_keys_pkey                  are written all over, as hashes are random:
--                                                  these two should fit in memory, about 90 bytes
--                                                  a leaf and 96 bytes a search key.
-- (An entry with a body of 893 bytes and two search keys costs 1609 bytes in all;
-- BenchmarkBytesPerEntry in storage/postgres measures it, table by table.)
-- Starting a new shard (another tree) makes the old one's parts cold. As tree_id is
-- in every primary key, all tables can be partitioned by list (tree_id) later, to
-- keep closed trees elsewhere, without changing a key or a query.

-- One Merkle tree of the log. Times are Unix seconds throughout, as they are signed.
create table tallystick.trees (
	tree_id    bigint primary key check (tree_id > 0),
	position   bigint not null unique generated always as identity, -- order of creation
	origin     text   not null,           -- first line of its checkpoints
	api        text   not null,           -- API generation, such as rekor-v1
	state      text   not null check (state in ('active', 'read-only')),
	base_index bigint not null check (base_index >= 0), -- added to an index gives the global index
	public_key bytea  not null,           -- DER SubjectPublicKeyInfo
	created    bigint not null
);

-- Of servers that create a log at the same moment, one succeeds.
create unique index trees_active on tallystick.trees (api) where state = 'active';

-- The newest committed head of each tree: the row that a commit locks, and
-- updates if it is still the one the batch was built on. No index covers
-- what changes and the pages have room, so updates stay in the page (HOT) and
-- clean up after themselves.
create table tallystick.heads (
	tree_id         bigint primary key references tallystick.trees,
	size            bigint not null check (size >= 0),
	root            bytea  not null check (octet_length(root) = 32),
	time            bigint not null,              -- of the newest leaf; 0 for none
	checkpoint      bytea  not null default '',   -- newest published checkpoint, as signed
	checkpoint_size bigint not null default 0     -- the tree size that it covers
) with (fillfactor = 20);

-- The leaves. A leaf's body is what was hashed: LeafHash = SHA-256(0x00 || body).
create table tallystick.leaves (
	tree_id     bigint not null,      -- no foreign key: the commit holds the row in heads, and checking again costs
	idx         bigint not null check (idx >= 0),
	time        bigint not null,      -- integrated time
	hash        bytea  not null check (octet_length(hash) = 32),
	key_set     bytea  not null check (octet_length(key_set) = 32), -- digest of the leaf's rows in search_keys
	attestation bytea           check (octet_length(attestation) = 32), -- SHA-256, if one is stored
	body        bytea  not null,
	primary key (tree_id, idx)
);

-- Finds duplicates, and makes them impossible.
create unique index leaves_hash on tallystick.leaves (tree_id, hash);

-- Bodies are mostly base64 of keys and signatures: pglz and lz4 find nothing to
-- shorten there, and would try for every body that makes a row longer than 2 kB.
alter table tallystick.leaves alter column body set storage external;

-- The search index: one row for each thing an entry is found by.
create table tallystick.search_keys (
	tree_id bigint not null,
	idx     bigint not null,  -- of the leaf
	-- One byte for the type (1 digest, 2 public key, 3 identity, 4 issuer), one for
	-- the form of the value, then the value. Forms: 0 as it is; in binary instead of
	-- lower-case hexadecimal: 1 without prefix (32 bytes), and after "sha1:" 2,
	-- "sha256:" 3, "sha384:" 4, "sha512:" 5. So who signed as jo@example.com:
	--   where key = '\x0300'::bytea || 'jo@example.com'
	key     bytea  not null,
	primary key (tree_id, key, idx)  -- a search reads it backwards: newest first
);

-- For checking that the search index is whole, leaf by leaf. Deduplicated by
-- PostgreSQL, it costs about 25 bytes a key. (A BRIN index would cost nothing, but
-- leaves the newest rows out until vacuum comes, and each look reads all of it.)
create index search_keys_by_leaf on tallystick.search_keys (tree_id, idx);

-- Tiles (C2SP tlog-tiles): those of level 0 that are full, and all of higher
-- levels. Partial tiles of level 0 are read from the leaves.
create table tallystick.tiles (
	tree_id bigint   not null,
	level   smallint not null check (level >= 0),
	idx     bigint   not null check (idx >= 0),
	hashes  bytea    not null check (octet_length(hashes) between 32 and 8192 and octet_length(hashes) % 32 = 0),
	primary key (tree_id, level, idx)
);

-- Hashes do not compress; uncompressed, a partial tile is read without the rest.
alter table tallystick.tiles alter column hashes set storage external;

-- Attestations: what entries whose body holds only a hash of it were made from.
create table tallystick.attestations (
	tree_id bigint not null,
	digest  bytea  not null check (octet_length(digest) = 32), -- SHA-256 of data
	data    bytea  not null,
	primary key (tree_id, digest)
);

-- Attestations are JSON and shrink well. They are compressed while the head is
-- locked, so lz4 is preferred, which takes a tenth of the time of pglz, if the
-- server was built with it (PostgreSQL 14 or later).
do $$
begin
	alter table tallystick.attestations alter column data set compression lz4;
exception when feature_not_supported or syntax_error then
	null;
end
$$;
