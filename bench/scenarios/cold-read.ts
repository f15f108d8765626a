import { findFreePort } from '../../dev/ports.ts';
import type { BareSelectOptions } from '../programs/bare-select.ts';
import type { Target } from '../programs/load.ts';
import { interleave, ratio } from '../rounds.ts';
import type { Scenario } from '../scenario.ts';
import { connectionIds, prepareConnections, tokenPath } from '../seed-connections.ts';
import { summarise } from '../statistics.ts';

const sockets = 64;

/** Reads of which none is in memory yet, to Hono with one SELECT and one open. */
export const coldRead: Scenario = {
  figures: ['cold_read_to_bare_select'],
  async prepare({ stack, extent, tell }) {
    // Each once a round, and again only when the entries of the last time have passed.
    const count = extent.isQuick ? 15_000 : 100_000;
    const stores = await prepareConnections(stack, 'cold', count, tell);
    const paths = connectionIds(count).map(tokenPath);
    const perRound = count / 5;
    const gateway = await stack.service('gateway', 'cold', await stack.temporalEnv());
    const port = await findFreePort();
    await stack.program('bare-select', {
      port,
      url: stores.url,
      keyFile: stack.keyFile,
    } satisfies BareSelectOptions);
    const load = await stack.load();
    const { headers } = stack;

    function reader(target: Target): () => Promise<number> {
      let from = 0;
      return async () => {
        const next = paths.slice(from, from + perRound);
        from = (from + perRound) % count;
        const { requestsPerSecond, failed } = await load.call.saturate({
          target,
          paths: next,
          connections: sockets,
          amount: perRound,
          split: true,
        });
        if (failed > 0) throw new Error(`${failed} cold reads failed`);
        return requestsPerSecond;
      };
    }
    const sides = {
      bare_select: reader({ origin: `http://127.0.0.1:${port}`, headers }),
      cold_read: reader({ origin: gateway.origin, headers }),
    };
    for (const warmUp of Object.values(sides)) await warmUp();

    return async () => {
      const measured = await interleave(extent.rounds, sides, tell);
      const unit = 'requests/s';
      return {
        figures: [
          {
            name: 'cold_read_to_bare_select',
            summary: ratio(measured.cold_read, measured.bare_select),
            bar: { atLeast: 0.85 },
          },
        ],
        measurements: [
          { what: 'Hono, one SELECT, one open', unit, summary: summarise(measured.bare_select) },
          { what: 'cold read, everything on', unit, summary: summarise(measured.cold_read) },
        ],
      };
    };
  },
};
