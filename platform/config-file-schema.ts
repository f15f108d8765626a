import { z } from 'zod';
import { searchAttributeNames } from '../client/contract.ts';

/*
 * temporal.config.json: what is not secret of the Temporal side. Every member may be absent; the
 * defaults are those of docs/architecture.md. Its JSON Schema, temporal.config.schema.json, is made
 * from this one (a test keeps them equal).
 */

const port = z.int().min(1).max(65_535);
const name = z.string().min(1).max(255);
const seconds = (maxSeconds: number) => z.number().positive().max(maxSeconds);
/** Connecting, exchanging and committing fit into the 75 s of the Activity. */
const connectMaxSeconds = 8;
const deadlineMaxSeconds = 60;

const taskQueues = z.strictObject({
  refresh: name.default('token-manager').describe('Refreshes of connections.'),
  wait: name.default('token-manager-wait').describe('Waiting on behalf of other Workflows.'),
  sweep: name.default('token-manager-sweep').describe('Sweeps and revocations.'),
});

/** As Temporal wants it of an endpoint. */
const nexusEndpoint = z
  .string()
  .regex(/^[a-zA-Z](?:[a-zA-Z0-9-]{0,198}[a-zA-Z0-9])?$/, {
    error: 'must be letters, digits and hyphens, a letter first and no hyphen last',
  })
  .nullable()
  .default('token-manager')
  .describe(
    'Nexus endpoint for Workflows of other namespaces: npm start creates it, elsewhere an administrator does. null: workers serve no Nexus.',
  );

const worker = z.strictObject({
  slots: z
    .strictObject({
      activities: z.int().min(1).max(10_000).default(500),
      workflowTasks: z.int().min(2).max(10_000).default(200),
      waitActivities: z.int().min(1).max(100_000).default(1_000),
    })
    .prefault({})
    .describe('How much one worker does at once.'),
  pollers: z
    .strictObject({
      initial: z.int().min(1).max(1_000).default(5),
      minimum: z.int().min(1).max(1_000).default(1),
      maximum: z.int().min(1).max(1_000).default(100),
    })
    .refine((pollers) => pollers.minimum <= pollers.initial && pollers.initial <= pollers.maximum, {
      error: 'must satisfy minimum <= initial <= maximum',
    })
    .prefault({})
    .describe('Bounds of poller autoscaling, for Workflow and Activity tasks each.'),
  shutdownGraceSeconds: seconds(3_600)
    .default(65)
    .describe('How long a stopping worker lets running exchanges end; above every deadline.'),
});

const refresh = z.strictObject({
  connectSeconds: seconds(connectMaxSeconds).default(5).describe('Connecting to a provider.'),
  deadlineSeconds: z
    .strictObject({
      S: seconds(deadlineMaxSeconds).default(15),
      L: seconds(deadlineMaxSeconds).default(15),
      T: seconds(deadlineMaxSeconds).default(10),
      C: seconds(deadlineMaxSeconds).default(15),
      X: seconds(deadlineMaxSeconds).default(60),
      F: seconds(deadlineMaxSeconds).default(60),
    })
    .prefault({})
    .describe(
      'The whole exchange by rotation class, from the claim on. T(n) takes n/4 where that is less.',
    ),
  workflowExecutionHours: z
    .number()
    .positive()
    .max(168)
    .default(6)
    .describe('Frees a Workflow ID that is stuck.'),
});

const sweep = z.strictObject({
  enabled: z.boolean().default(true).describe('Refreshes before expiry, without being asked.'),
  everySeconds: z.int().min(10).max(3_600).default(60).describe('Between two sweeps.'),
  startsPerSecond: z
    .int()
    .min(1)
    .max(1_000)
    .default(100)
    .describe('Refreshes that a sweep starts in a second.'),
  startsPerSecondOfApp: z
    .int()
    .min(1)
    .max(1_000)
    .default(20)
    .describe('The same of one app, whose own limits hold beside it.'),
});

const dev = z.strictObject({
  ports: z
    .strictObject({
      gateway: port.default(8082),
      temporal: port.default(7233),
      temporalUi: port.default(8233),
      provider: port.default(8084),
      postgres: port.default(15_432),
    })
    .prefault({})
    .describe('Where npm start listens, on loopback.'),
  dbFilename: name
    .default('.token-manager/temporal.db')
    .describe('Database file of the Temporal development server.'),
  dynamicConfig: z
    .record(z.string().min(1), z.union([z.string(), z.number(), z.boolean()]))
    // Its default poll rate paces every step of a Workflow at 50 ms; fairness is off by default.
    .default({
      'history.transferProcessorMaxPollRPS': 2_000,
      'matching.enableFairness': true,
    })
    .describe('Dynamic configuration of the Temporal development server.'),
});

const attributeType = z.enum([
  'Keyword',
  'Text',
  'Int',
  'Double',
  'Bool',
  'Datetime',
  'KeywordList',
]);
const requiredAttributes = Object.fromEntries(
  searchAttributeNames.map((attribute) => [attribute, 'Keyword' as const]),
);

export const configFileSchema = z.strictObject({
  $schema: z.string().optional(),
  namespace: name.default('default').describe('TEMPORAL_NAMESPACE and temporal.toml win over it.'),
  taskQueues: taskQueues.prefault({}),
  retention: z
    .string()
    .regex(/^[1-9]\d{0,3}[hd]$/, 'must be hours or days such as 72h or 7d')
    .default('7d')
    .describe('How long the namespace keeps closed Workflows: 72h, 7d.'),
  searchAttributes: z
    .record(z.string().min(1), attributeType)
    .refine((attributes) => searchAttributeNames.every((each) => attributes[each] === 'Keyword'), {
      error: `must name ${searchAttributeNames.join(', ')}, each Keyword`,
    })
    .default(requiredAttributes)
    .describe('What npm start registers; elsewhere an administrator does.'),
  nexusEndpoint,
  worker: worker.prefault({}),
  refresh: refresh.prefault({}),
  sweep: sweep.prefault({}),
  dev: dev.prefault({}),
});
