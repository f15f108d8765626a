import { defineConfig } from 'vitest/config';

const stackTests = 'test/**/*.stack.test.ts';

export default defineConfig({
  test: {
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 60_000,
    projects: [
      {
        extends: true,
        test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: [stackTests] },
      },
      {
        extends: true,
        test: {
          name: 'stack',
          include: [stackTests],
          globalSetup: 'test/support/global-setup.ts',
          setupFiles: 'test/support/quiet-temporal.ts',
          // Two cores carry PostgreSQL, Temporal and the tests: one file at a time keeps timing honest.
          fileParallelism: false,
        },
      },
    ],
  },
});
