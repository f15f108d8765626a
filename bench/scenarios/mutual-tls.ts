import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findFreePort } from '../../dev/ports.ts';
import type { BareHonoOptions } from '../programs/bare-hono.ts';
import { interleave, ratio } from '../rounds.ts';
import type { Scenario } from '../scenario.ts';
import { connectionIds, prepareConnections, tokenPath } from '../seed-connections.ts';
import { summarise } from '../statistics.ts';
import { readsPerSecond } from './hot-read.ts';

const hotConnections = 1_000;

/** A hot read by a caller who is known by its certificate, to Hono over TLS. */
export const mutualTls: Scenario = {
  figures: ['hot_read_mtls_to_bare_tls'],
  async prepare({ stack, extent, tell }) {
    await prepareConnections(stack, 'mtls', hotConnections, tell);
    const paths = connectionIds(hotConnections).map(tokenPath);
    const { key, cert, authority } = await stack.certificates();
    const file = (name: string, text: string): string => {
      const path = join(stack.folder, name);
      writeFileSync(path, text, { mode: 0o600 });
      return path;
    };
    const gateway = await stack.service('gateway', 'mtls', {
      ...(await stack.temporalEnv()),
      TLS_MODE: 'mtls',
      MTLS_CERT_FILE: file('server.crt', cert),
      MTLS_KEY_FILE: file('server.key', key),
      MTLS_CLIENT_CERT_FILE: file('clients.pem', authority),
    });
    const ours = { origin: gateway.origin, headers: {}, tls: { cert, key } };
    const load = await stack.load();
    const bytes = await load.call.bodyBytes({ target: ours, path: paths[0] ?? '' });
    const port = await findFreePort();
    await stack.program('bare-hono', { port, bytes, tls: { cert, key } } satisfies BareHonoOptions);
    const bare = { origin: `https://127.0.0.1:${port}`, headers: {}, tls: { cert, key } };
    const sides = {
      bare_tls: () => readsPerSecond(load, bare, paths, extent.seconds),
      hot_read_mtls: () => readsPerSecond(load, ours, paths, extent.seconds),
    };
    for (const warmUp of Object.values(sides)) await warmUp();

    return async () => {
      const measured = await interleave(extent.rounds, sides, tell);
      const unit = 'requests/s';
      return {
        figures: [
          {
            name: 'hot_read_mtls_to_bare_tls',
            summary: ratio(measured.hot_read_mtls, measured.bare_tls),
            bar: { atLeast: 0.6 },
          },
        ],
        measurements: [
          { what: `Hono over TLS, ${bytes} bytes`, unit, summary: summarise(measured.bare_tls) },
          {
            what: 'hot read over mutual TLS, everything on',
            unit,
            summary: summarise(measured.hot_read_mtls),
          },
        ],
      };
    };
  },
};
