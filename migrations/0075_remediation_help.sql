-- What the organization adds to its clients' remediation pages: how to reach its help desk. Plain text.
ALTER TABLE org ADD COLUMN help_text text NOT NULL DEFAULT '' CHECK (length(help_text) <= 600);
