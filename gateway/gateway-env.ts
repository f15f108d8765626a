import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Context } from 'hono';
import type { ProblemCode } from '../client/contract.ts';

/** What one request carries from its middleware to its handler and back. */
interface GatewayVariables {
  requestId: string;
  /** Set once the path's id has been checked; for the log and for problems. */
  connectionId?: string;
  problem?: ProblemCode;
  requestBytes?: number;
  responseBytes?: number;
}

export interface GatewayEnv {
  Variables: GatewayVariables;
}

export type GatewayApp = OpenAPIHono<GatewayEnv>;
export type GatewayContext = Context<GatewayEnv>;
