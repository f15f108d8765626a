import { expect, it } from 'vitest';
import { configFileSchema } from '../../platform/config-file-schema.ts';
import { exchangeDeadlinesMs, tuneWorker } from '../../worker/worker-settings.ts';

it('slots, pollers and grace of temporal.config.json reach the worker', () => {
  const { worker } = configFileSchema.parse({
    worker: {
      slots: { activities: 11, workflowTasks: 12 },
      pollers: { initial: 3, minimum: 2, maximum: 4 },
      shutdownGraceSeconds: 70,
    },
  });
  expect(tuneWorker(worker)).toEqual({
    activitySlots: 11,
    workflowTaskSlots: 12,
    pollers: { initial: 3, minimum: 2, maximum: 4 },
    shutdownGraceMs: 70_000,
  });
});

it('each class has its own deadline', () => {
  const deadlineSeconds = { S: 1, L: 2, T: 3, C: 4, X: 5, F: 6.5 };
  const { refresh } = configFileSchema.parse({ refresh: { deadlineSeconds } });
  expect(exchangeDeadlinesMs(refresh)).toEqual({
    S: 1_000,
    L: 2_000,
    T: 3_000,
    C: 4_000,
    X: 5_000,
    F: 6_500,
  });
});

it.each(['sweeps', 'nexusEndpoint', 'slots'])(
  'a member %s that is not built is refused',
  (name) => {
    expect(configFileSchema.safeParse({ [name]: {} }).success).toBe(false);
  },
);
