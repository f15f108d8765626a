import { builtinModules } from 'node:module';
import js from '@eslint/js';
import tseslint from 'typescript-eslint';

// Who may import whom (docs/architecture.md). A room lists the rooms it may import values from; every
// room may import client/contract, client/nexus and platform/secret, and the types of whatever `types` names.
const rooms = [
  'client',
  'platform',
  'connections',
  'oauth',
  'vault',
  'workflows',
  'activities',
  'worker',
  'gateway',
  'cli',
  'dev',
  'bench',
  'test',
];
const importTable = {
  client: { values: [], types: [] },
  platform: { values: [], types: ['gateway'] },
  connections: { values: [], types: ['platform'] },
  oauth: { values: [], types: ['platform', 'connections'] },
  vault: { values: [], types: ['platform', 'connections'] },
  workflows: { values: ['connections', 'oauth'], types: ['activities'] },
  activities: { values: ['connections', 'oauth', 'vault'], types: ['platform'] },
  gateway: { values: ['connections'], types: ['platform'] },
  worker: { values: [], types: ['platform', 'activities'] },
};

/** Rooms that compose: the only places that construct and connect. */
const composers = [
  'worker/main.ts',
  'gateway/main.ts',
  'worker/compose-worker.ts',
  'worker/compose-deliveries.ts',
  'worker/compose-maintenance.ts',
  'worker/compose-waits.ts',
  'gateway/compose-gateway.ts',
];

const temporalPackages = {
  group: ['@temporalio/*'],
  message: 'This room does not know Temporal; ask for a port as an argument instead.',
};
const nodeBuiltIns = {
  // Also without the prefix, and in folders of theirs: `fs`, `timers/promises`.
  regex: `^(?:node:|(?:${builtinModules.join('|')})(?:/|$))`,
  message: 'Workflow code is deterministic: no Node built-ins.',
};
/** Packages a room must not import, beside the import table. */
const packageTable = {
  client: [temporalPackages],
  connections: [temporalPackages],
  oauth: [temporalPackages],
  vault: [temporalPackages],
  gateway: [temporalPackages],
  workflows: [nodeBuiltIns],
};

function restrictions(room, packages = packageTable[room] ?? []) {
  const { values, types } = importTable[room];
  const others = rooms.filter((other) => other !== room && !values.includes(other));
  const exceptions = '(?!client/(?:contract|nexus)\\.ts$)(?!platform/secret\\.ts$)';
  const forbidden = others.filter((other) => !types.includes(other));
  const typesOnly = others.filter((other) => types.includes(other));
  const pattern = (names) => `^(?:\\.\\./)+${exceptions}(?:${names.join('|')})/`;
  return [
    'error',
    {
      patterns: [
        ...packages,
        {
          regex: pattern(forbidden),
          message: `${room}/ may not import this room (docs/architecture.md, who may import whom).`,
        },
        ...(typesOnly.length === 0
          ? []
          : [
              {
                regex: pattern(typesOnly),
                allowTypeImports: true,
                message: `${room}/ may import only the types of this room (docs/architecture.md).`,
              },
            ]),
      ],
    },
  ];
}

export default tseslint.config(
  {
    ignores: [
      'dist/',
      'node_modules/',
      '.token-manager/',
      'test/histories/',
      // Compiled as a package of its own, against what is packed (test/package/package.stack.test.ts).
      'test/package/consumer/',
    ],
  },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      'no-console': 'error',
    },
  },
  ...Object.keys(importTable).map((room) => ({
    files: [`${room}/**/*.ts`],
    ignores: composers,
    rules: { '@typescript-eslint/no-restricted-imports': restrictions(room) },
  })),
  {
    // What runs in the Workflows of others.
    files: ['client/workflow.ts'],
    rules: {
      '@typescript-eslint/no-restricted-imports': restrictions('client', [
        nodeBuiltIns,
        {
          group: ['@temporalio/*', '!@temporalio/workflow'],
          message:
            'Workflows of others bundle this: @temporalio/workflow, nexus-rpc and the contract.',
        },
      ]),
    },
  },
  {
    files: ['**/*.mjs', '**/*.js'],
    languageOptions: {
      globals: { process: 'readonly', console: 'readonly', URL: 'readonly', fetch: 'readonly' },
    },
  },
  { files: ['dev/**', 'cli/**', 'bench/**'], rules: { 'no-console': 'off' } },
);
