import { afterAll, beforeAll, expect, it } from 'vitest';
import { createServiceCluster, type ServiceCluster } from '../support/service-cluster.ts';

let cluster: ServiceCluster;
beforeAll(async () => {
  cluster = await createServiceCluster();
});
afterAll(() => cluster.close());

it.each(['gateway', 'worker', 'all-in-one'] as const)(
  '/ready of a %s is degraded and says that the namespace is not there',
  async (command) => {
    const service = await cluster.start(command, { TEMPORAL_NAMESPACE: 'nowhere' });
    await service.waitUntil('degraded');
    await expect
      .poll(async () => (await fetch(`${service.metricsOrigin}/ready`)).json(), { timeout: 20_000 })
      .toEqual({
        status: 'degraded',
        checks: { postgres: 'ok', temporal: 'namespace_not_found' },
      });
    expect((await service.stop()).code).toBe(0);
  },
  60_000,
);
