import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import type { ProviderFault } from './chaos-schedule.ts';
import type { RotationLedger } from '../support/rotation-families.ts';
import type { IssuedGrant } from '../support/rotation-provider.ts';
import type { FaultRequest } from './token-witness.ts';
import type { JournalEntry } from './witness-journal.ts';

const entry = join(import.meta.dirname, 'provider-main.ts');

/** The authorization server and its witness, in a process of their own that nobody kills. */
export interface ProviderProcess {
  pid: number;
  origin: string;
  /** A grant of the client, whose id says the class. */
  grant(connectionId: string, clientId: string, expiresIn: number): Promise<IssuedGrant>;
  /** So large a share of the token requests meets the fault from now on; 0 ends it. */
  setFault(what: ProviderFault, share: number): Promise<void>;
  /** What was written down so far; each entry comes from the process once. */
  journal(): Promise<readonly JournalEntry[]>;
  /** The authorization server's own count, by connection. */
  ledger(): Promise<RotationLedger['connections']>;
  stop(): Promise<void>;
}

export async function startProviderProcess(options: {
  seed: number;
  /** Where its warnings go. */
  logFile: string;
}): Promise<ProviderProcess> {
  const args = ['--import', 'tsx', entry, String(options.seed)];
  const log = openSync(options.logFile, 'a');
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', log] });
  closeSync(log);
  const { stdout } = child;
  if (stdout === null) throw new Error('the authorization server has no output');
  const exited = once(child, 'exit');
  const first = await Promise.race([once(stdout, 'data'), exited]);
  const [line] = first as [unknown];
  if (!Buffer.isBuffer(line)) throw new Error('the authorization server did not start');
  const origin = line.toString('utf8').trim();
  const seen: JournalEntry[] = [];
  let pulling: Promise<void> | undefined;

  async function call(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await fetch(`${origin}${path}`, {
      method,
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    if (!response.ok) throw new Error(`${path} of the authorization server: ${response.status}`);
    return response.json();
  }

  async function pull(): Promise<void> {
    seen.push(...((await call('GET', `/journal?after=${seen.length}`)) as JournalEntry[]));
  }

  return {
    pid: child.pid ?? 0,
    origin,
    grant: (connectionId, clientId, expiresIn) =>
      call('POST', '/grants', {
        connection_id: connectionId,
        client_id: clientId,
        expires_in: expiresIn,
      }) as Promise<IssuedGrant>,
    async setFault(what, share) {
      await call('POST', '/faults', { what, share } satisfies FaultRequest);
    },
    async journal() {
      pulling ??= pull().finally(() => (pulling = undefined));
      await pulling;
      return seen;
    },
    async ledger() {
      const { connections } = (await call('GET', '/ledger')) as RotationLedger;
      return connections;
    },
    async stop() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}
