import {
  closeSync,
  fdatasync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import type { AdapterPayload } from 'oidc-provider';

import { SetupError } from '../setup-error.ts';

const syncData = promisify(fdatasync);
const fileMode = 0o600;

/** Why a family ended: a spent token came again, or somebody asked for it (RFC 7009). */
export type RevocationCause = 'reuse' | 'request';

/** Ground truth of one connection, or of all. */
export interface ExchangeCounts {
  /** Refresh tokens exchanged for new ones. */
  exchanges: number;
  /** Spent refresh tokens presented again. */
  reuse: number;
  /** Families that ended because of reuse. */
  family_revocations: number;
}

/** One line of the journal: everything that ever changes the store. */
export type JournalEntry =
  | { op: 'grant'; grantId: string; connectionId: string }
  | { op: 'put'; model: string; id: string; payload: AdapterPayload; expiresAtMs: number | null }
  | { op: 'drop'; model: string; id: string }
  | { op: 'consume'; id: string; atMs: number }
  | { op: 'spent'; id: string; grantId: string; expiresAtMs: number | null }
  | { op: 'revoke'; grantId: string; cause: RevocationCause }
  | { op: 'revoked'; grantId: string }
  | { op: 'reuse'; grantId: string }
  | { op: 'counts'; connectionId: string; counts: ExchangeCounts };

export interface GrantJournal {
  /** In the order of calls; survives the death of this process at once, of the machine after `flush`. */
  append(entry: JournalEntry): void;
  flush(): Promise<void>;
  close(): void;
}

/** The journal of a store that nobody keeps. */
export const noJournal: GrantJournal = {
  append: () => undefined,
  flush: () => Promise.resolve(),
  close: () => undefined,
};

/** The entries of an earlier run; none if there is no file. Throws SetupError. */
export function readJournal(file: string): JournalEntry[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return [];
  }
  const lines = text.split('\n');
  // What follows the last newline is empty, or was being written when the machine stopped.
  lines.pop();
  return lines.map((line, index) => {
    try {
      return JSON.parse(line) as JournalEntry;
    } catch (cause) {
      throw new SetupError(
        `Line ${index + 1} of ${file}, the demo provider's data, cannot be read. ` +
          'Delete all local data: npm run reset',
        { cause },
      );
    }
  });
}

/** Replaces the file by `entries`, which say the same in fewer lines, and goes on from there. */
export function openJournal(file: string, entries: readonly JournalEntry[]): GrantJournal {
  mkdirSync(dirname(file), { recursive: true });
  const unfinished = `${file}.new`;
  const descriptor = openSync(unfinished, 'w', fileMode);
  const append = (entry: JournalEntry): void => {
    writeSync(descriptor, `${JSON.stringify(entry)}\n`);
  };
  entries.forEach(append);
  fsyncSync(descriptor);
  renameSync(unfinished, file);
  return {
    append,
    flush: () => syncData(descriptor),
    close: () => closeSync(descriptor),
  };
}
