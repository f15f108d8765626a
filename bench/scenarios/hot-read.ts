import { join } from 'node:path';
import { findFreePort } from '../../dev/ports.ts';
import type { Child } from '../child-calls.ts';
import { drawFlameGraph } from '../flame-graph.ts';
import type { BareHonoOptions } from '../programs/bare-hono.ts';
import type { Load, Target } from '../programs/load.ts';
import { interleave, ratio } from '../rounds.ts';
import type { Scenario } from '../scenario.ts';
import { connectionIds, prepareConnections, tokenPath } from '../seed-connections.ts';
import { summarise } from '../statistics.ts';

/** Among so many connections the hot reads go around, over so many sockets. */
const hotConnections = 1_000;
const sockets = 64;
/** While the others were measured, what was in memory has grown too old. */
const warmUpSeconds = 1;
const flameSeconds = 10;

/** A read from memory with everything on, to Hono with one answer that is always the same. */
export const hotRead: Scenario = {
  figures: ['hot_read_to_bare_hono'],
  async prepare({ stack, extent, flames, tell }) {
    await prepareConnections(stack, 'hot', hotConnections, tell);
    const paths = connectionIds(hotConnections).map(tokenPath);
    const { headers } = stack;
    const temporal = await stack.temporalEnv();
    const gateway = await stack.service('gateway', 'hot', temporal);
    const uncached = await stack.service('gateway', 'hot', {
      ...temporal,
      TOKEN_CACHE_SECONDS: '0',
    });
    const ours = { origin: gateway.origin, headers };
    const load = await stack.load();
    const bytes = await load.call.bodyBytes({ target: ours, path: paths[0] ?? '' });
    const port = await findFreePort();
    await stack.program('bare-hono', { port, bytes } satisfies BareHonoOptions);
    const read = (target: Target) => readsPerSecond(load, target, paths, extent.seconds);
    const sides = {
      bare_hono: () => read({ origin: `http://127.0.0.1:${port}`, headers }),
      hot_read: () => read(ours),
      read_without_cache: () => read({ origin: uncached.origin, headers }),
    };
    for (const warmUp of Object.values(sides)) await warmUp();

    return async () => {
      const measured = await interleave(extent.rounds, sides, tell);
      if (flames !== undefined) {
        tell('draws the flame graph');
        await Promise.all([
          readsPerSecond(load, ours, paths, flameSeconds + 2),
          drawFlameGraph(gateway.pprofOrigin, join(flames, 'hot-read.svg'), flameSeconds),
        ]);
      }
      const unit = 'requests/s';
      return {
        figures: [
          {
            name: 'hot_read_to_bare_hono',
            summary: ratio(measured.hot_read, measured.bare_hono),
            bar: { atLeast: 0.65 },
            guard: { atLeast: 0.25 },
          },
          {
            name: 'uncached_read_to_bare_hono',
            summary: ratio(measured.read_without_cache, measured.bare_hono),
          },
        ],
        measurements: [
          { what: `Hono, ${bytes} bytes`, unit, summary: summarise(measured.bare_hono) },
          { what: 'hot read, everything on', unit, summary: summarise(measured.hot_read) },
          {
            what: 'the same, TOKEN_CACHE_SECONDS=0',
            unit,
            summary: summarise(measured.read_without_cache),
          },
        ],
      };
    };
  },
};

/** As many reads as a target answers once it has every connection in memory. Throws if one fails. */
export async function readsPerSecond(
  load: Child<Load>,
  target: Target,
  paths: string[],
  seconds: number,
): Promise<number> {
  const asked = { target, paths, connections: sockets };
  await load.call.saturate({ ...asked, seconds: warmUpSeconds });
  const { requestsPerSecond, failed } = await load.call.saturate({ ...asked, seconds });
  if (failed > 0) throw new Error(`${failed} reads of ${target.origin} failed`);
  return requestsPerSecond;
}
