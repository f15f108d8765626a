import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';

import { listen } from '../platform/listen.ts';
import { createDemoProvider } from './demo-provider/create-demo-provider.ts';
import { createGrantStore } from './demo-provider/grant-store.ts';
import type { LocalData } from './local-data.ts';

const host = '127.0.0.1';
const clientId = 'demo-client';
const secretBytes = 24;

export interface ServedDemoProvider {
  issuer: string;
  client: { id: string; secret: string };
  stop(): Promise<void>;
}

/** The demo provider on 127.0.0.1, with its grants and its client's secret kept in the local data. */
export async function serveDemoProvider(
  data: LocalData,
  port: number,
  portSetting: string,
): Promise<ServedDemoProvider> {
  const issuer = `http://${host}:${port}`;
  const client = { id: clientId, secret: keptSecret(data.clientSecret) };
  const store = createGrantStore({ nowMs: () => Date.now(), journalFile: data.grants });
  const server = createServer(createDemoProvider({ issuer, store, client }).handler);
  await listen(server, { host, port, setting: portSetting });
  return {
    issuer,
    client,
    async stop() {
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
      store.close();
    },
  };
}

function keptSecret(file: string): string {
  if (!existsSync(file)) {
    writeFileSync(file, randomBytes(secretBytes).toString('hex'), { mode: 0o600 });
  }
  return readFileSync(file, 'utf8');
}
