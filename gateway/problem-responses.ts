import { z } from '@hono/zod-openapi';
import { problemKinds, TokenManagerError, type ProblemCode } from '../client/contract.ts';
import { createProblem } from './problem.ts';

const problemCodes = Object.keys(problemKinds) as [ProblemCode, ...ProblemCode[]];
const remedies = [...new Set(Object.values(problemKinds).map(({ remedy }) => remedy))];

/** What any route may answer, whatever it does. */
export const problemsOfEveryRoute: readonly ProblemCode[] = [
  'method_not_allowed',
  'request_timeout',
  'headers_too_large',
  'internal',
  'overloaded',
];
/** What the routes under /v1 answer to callers. */
export const problemsOfCallers: readonly ProblemCode[] = [
  ...problemsOfEveryRoute,
  'input_validation',
  'unauthenticated',
  'forbidden',
];
/** What a route that takes a body adds. */
export const problemsOfBodies: readonly ProblemCode[] = [
  'request_too_large',
  'unsupported_media_type',
];

const inputFault = z
  .union([
    z.object({
      pointer: z.string().openapi({ description: 'JSON pointer (RFC 6901) into the body.' }),
      detail: z.string(),
    }),
    z.object({
      parameter: z.string().openapi({ description: 'Name of a parameter of path or query.' }),
      detail: z.string(),
    }),
  ])
  .openapi('InputFault', {
    description: 'Where the input is at fault, and what is expected there.',
  });

/** The schema of ProblemBody (gateway/problem.ts). */
export const problemSchema = z
  .object({
    type: z.string().openapi({
      format: 'uri-reference',
      description: '`/problems/<code>`; says what the code means and what to do.',
    }),
    title: z.enum(['InputValidationProblem', 'ApplicationProblem']),
    status: z.int().min(400).max(599),
    detail: z.string(),
    code: z.enum(problemCodes),
    retryable: z.boolean().openapi({ description: 'The same request may succeed later.' }),
    retry_after_seconds: z.int().min(1).optional().openapi({ description: 'As Retry-After.' }),
    remedy: z.enum(remedies),
    request_id: z.string().openapi({ description: 'By which operators find it in the log.' }),
    connection_id: z.string().optional(),
    reason: z.string().optional().openapi({
      description: 'With reauthorization_required: why the customer is needed again.',
    }),
    errors: z.array(inputFault).optional().openapi({ description: 'With input_validation.' }),
  })
  .openapi({ description: 'Problem details (RFC 9457).' });

export const problemSchemaName = 'Problem';

const headerOfStatus: Record<number, string> = {
  401: 'WWW-Authenticate',
  405: 'Allow',
  429: 'Retry-After',
  503: 'Retry-After',
};

/**
 * The problems as responses of an OpenAPI operation, one for each status with its codes enumerated.
 * Typed as `object`, so that the type of a route knows no answers but those its handler gives.
 */
export function problemResponses(codes: readonly ProblemCode[]): object {
  const statuses = [...new Set(codes.map((code) => problemKinds[code].status))].sort();
  return Object.fromEntries(
    statuses.map((status) => {
      const ofStatus = codes.filter((code) => problemKinds[code].status === status);
      return [status, describeStatus(status, ofStatus)];
    }),
  );
}

function describeStatus(status: number, codes: ProblemCode[]): object {
  // A connection that is being revoked tells when to come back, as other problems of its status do not.
  const isSometimesRetryable = codes.some((code) => problemKinds[code].retryable);
  const header = headerOfStatus[status] ?? (isSometimesRetryable ? 'Retry-After' : undefined);
  return {
    description: codes.map((code) => `\`${code}\`: ${problemKinds[code].summary}`).join('\n\n'),
    headers: {
      ...headersOfEveryAnswer,
      ...(header !== undefined && { [header]: { $ref: `#/components/headers/${header}` } }),
    },
    content: {
      'application/problem+json': {
        schema: problemSchemaOf(codes),
        examples: Object.fromEntries(
          codes.map((code) => [code, { $ref: `#/components/examples/${code}` }]),
        ),
      },
    },
  };
}

/** The schema of a problem that has one of these codes, which share a status. */
export function problemSchemaOf(codes: readonly ProblemCode[]) {
  return {
    allOf: [
      { $ref: `#/components/schemas/${problemSchemaName}` },
      {
        type: 'object' as const,
        properties: {
          code: { type: 'string' as const, enum: [...codes] },
          status: {
            type: 'integer' as const,
            enum: [...new Set(codes.map((code) => problemKinds[code].status))],
          },
        },
      },
    ],
  };
}

export const retryAfterHeader = { $ref: '#/components/headers/Retry-After' };

/** References to the components of the same names, for every answer there is. */
export const headersOfEveryAnswer = Object.fromEntries(
  ['X-Request-Id', 'Cache-Control'].map((name) => [name, { $ref: `#/components/headers/${name}` }]),
);

/** An example of each problem, by code: components of the document. */
export const problemExamples = Object.fromEntries(
  problemCodes.map((code) => [code, { summary: problemKinds[code].summary, value: example(code) }]),
);

function example(code: ProblemCode): object {
  const error = new TokenManagerError(code, {
    ...(code === 'input_validation' && {
      errors: [{ parameter: 'wait_seconds', detail: 'must be a whole number from 0 to 60' }],
    }),
    ...(code === 'reauthorization_required' && { reason: 'revoked' }),
  });
  return createProblem(error, { requestId: '5f0c6d2e-8a52-4a57-9d0b-6b8c7f5a1e11' }).body;
}
