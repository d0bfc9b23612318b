package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/tallystick/tallystick/storage/postgres"
	"github.com/tallystick/tallystick/storage/sqlite"
)

// migrateCmd brings the schema up to date.
type migrateCmd struct {
	storageSettings
}

// Help says when to use it.
func (c *migrateCmd) Help() string {
	return `serve does the same when it starts. Run it beforehand if the server's database user may not change the schema. Several at once are safe: one works, the others wait.`
}

// Run applies what is missing and prints it.
func (c *migrateCmd) Run(ctx context.Context, p *program) error {
	where, err := c.place()
	if err != nil {
		return err
	}
	applied, err := c.migrate(ctx, where)
	for _, name := range applied {
		fmt.Fprintf(p.Stdout, "applied %s\n", name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	if len(applied) == 0 {
		fmt.Fprintf(p.Stdout, "%s: the schema is up to date\n", where)
	}
	return nil
}

func (c *migrateCmd) migrate(ctx context.Context, where place) ([]string, error) {
	switch where.backend {
	case backendPostgres:
		return postgres.Migrate(ctx, where.address)
	case backendSQLite:
		if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
			return nil, fmt.Errorf("making the data directory: %w", err)
		}
		return sqlite.Migrate(ctx, where.address)
	}
	return nil, usageError{errors.New("memory has no schema")}
}
