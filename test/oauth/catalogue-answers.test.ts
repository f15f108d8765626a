import { describe, expect, it } from 'vitest';
import type { FailureClass } from '../../client/contract.ts';
import { judgeAnswer } from '../../oauth/failure-class.ts';
import { createProviderCatalogue, loadBuiltInProviders } from '../../oauth/provider-catalogue.ts';
import { extractTokens } from '../../oauth/token-answer.ts';
import { buildTokenRequest } from '../../oauth/token-request.ts';
import { renderUrl } from '../../oauth/url-template.ts';
import { Secret } from '../../platform/secret.ts';
import { answerOf, noKeys } from './definitions.ts';

/** What a provider documents, in its own shapes. */
interface ProviderSample {
  variables?: Record<string, string>;
  url: string;
  /** Parameters of the request beside grant and client, and headers beside the usual. */
  sent?: { params?: Record<string, unknown>; headers?: Record<string, string> };
  format: 'form' | 'json';
  auth: 'basic' | 'post';
  success: string | Record<string, unknown>;
  extracted: Record<string, unknown>;
  failures: [status: number, body: string | object, expected: FailureClass, code: string][];
}

const error = (code: string, description?: string): object => ({
  error: code,
  ...(description === undefined ? {} : { error_description: description }),
});
const bearer = { access_token: 'at-2', refresh_token: 'rt-2', token_type: 'bearer' };
const invalidGrant: [number, object, FailureClass, string] = [
  400,
  error('invalid_grant'),
  'permanent',
  'invalid_grant',
];

const samples: Record<string, ProviderSample> = {
  atlassian: {
    url: 'https://auth.atlassian.com/oauth/token',
    format: 'json',
    auth: 'post',
    success: { ...bearer, expires_in: 3600, scope: 'read:jira-work offline_access' },
    extracted: { expiresInSeconds: 3600, scope: 'read:jira-work offline_access' },
    failures: [
      [
        403,
        error('invalid_grant', 'Unknown or invalid refresh token.'),
        'permanent',
        'invalid_grant',
      ],
      [
        403,
        error('unauthorized_client', 'refresh_token is invalid'),
        'permanent',
        'unauthorized_client',
      ],
      // Only the text tells a spent token from an app that may not refresh.
      [
        403,
        error('unauthorized_client', 'grant not allowed'),
        'misconfigured',
        'unauthorized_client',
      ],
      [401, error('access_denied', 'Unauthorized'), 'misconfigured', 'access_denied'],
    ],
  },
  auth0: {
    variables: { domain: 'acme.eu.auth0.com' },
    url: 'https://acme.eu.auth0.com/oauth/token',
    format: 'form',
    auth: 'post',
    success: { ...bearer, expires_in: 86400, scope: 'openid offline_access', id_token: 'x.y.z' },
    extracted: { expiresInSeconds: 86400, scope: 'openid offline_access' },
    failures: [
      [
        403,
        error('invalid_grant', 'Unknown or invalid refresh token.'),
        'permanent',
        'invalid_grant',
      ],
      [401, error('access_denied', 'Unauthorized'), 'misconfigured', 'access_denied'],
      [429, error('too_many_requests'), 'rate_limited', 'too_many_requests'],
    ],
  },
  box: {
    url: 'https://api.box.com/oauth2/token',
    format: 'form',
    auth: 'post',
    success: { ...bearer, expires_in: 4169, restricted_to: [] },
    extracted: { expiresInSeconds: 4169 },
    failures: [
      [400, error('invalid_grant', 'Refresh token has expired'), 'permanent', 'invalid_grant'],
      [
        400,
        error('invalid_client', 'The client credentials are not valid'),
        'misconfigured',
        'invalid_client',
      ],
    ],
  },
  github: {
    url: 'https://github.com/login/oauth/access_token',
    format: 'form',
    auth: 'post',
    success:
      'access_token=at-2&expires_in=28800&refresh_token=rt-2&refresh_token_expires_in=15897600&scope=&token_type=bearer',
    extracted: { expiresInSeconds: 28800, refreshExpiresInSeconds: 15897600 },
    failures: [
      [
        200,
        error('bad_refresh_token', 'The refresh token passed is incorrect or expired.'),
        'permanent',
        'bad_refresh_token',
      ],
      [200, error('incorrect_client_credentials'), 'misconfigured', 'incorrect_client_credentials'],
      [200, 'error=bad_refresh_token&error_uri=x', 'permanent', 'bad_refresh_token'],
      [200, error('unsupported_grant_type'), 'misconfigured', 'unsupported_grant_type'],
    ],
  },
  gitlab: {
    variables: { redirect_uri: 'https://app.example.com/oauth/callback' },
    url: 'https://gitlab.com/oauth/token',
    sent: { params: { redirect_uri: 'https://app.example.com/oauth/callback' } },
    format: 'form',
    auth: 'post',
    success: { ...bearer, expires_in: 7200, created_at: 1628711391, scope: 'api' },
    extracted: { expiresInSeconds: 7200, scope: 'api' },
    failures: [
      [
        400,
        error('invalid_grant', 'The provided authorization grant is invalid, expired, revoked'),
        'permanent',
        'invalid_grant',
      ],
      [401, error('invalid_client'), 'misconfigured', 'invalid_client'],
    ],
  },
  google: {
    url: 'https://oauth2.googleapis.com/token',
    format: 'form',
    auth: 'post',
    success: { access_token: 'at-2', token_type: 'Bearer', expires_in: 3599, id_token: 'x.y.z' },
    extracted: { refreshToken: null, expiresInSeconds: 3599 },
    failures: [
      [
        400,
        error('invalid_grant', 'Token has been expired or revoked.'),
        'permanent',
        'invalid_grant',
      ],
      [401, error('invalid_client'), 'misconfigured', 'invalid_client'],
    ],
  },
  hubspot: {
    url: 'https://api.hubapi.com/oauth/v3/token',
    format: 'form',
    auth: 'post',
    success: { ...bearer, expires_in: 1800 },
    extracted: { expiresInSeconds: 1800 },
    failures: [
      [400, { status: 'BAD_REFRESH_TOKEN', message: 'x' }, 'permanent', 'bad_refresh_token'],
      [400, { status: 'BAD_CLIENT_SECRET', message: 'x' }, 'misconfigured', 'http_400'],
      [400, { status: 'BAD_REQUEST', message: 'x' }, 'transient', 'http_400'],
      invalidGrant,
      [429, { status: 'error', category: 'RATE_LIMITS' }, 'rate_limited', 'http_429'],
    ],
  },
  microsoft: {
    variables: { tenant: 'organizations' },
    url: 'https://login.microsoftonline.com/organizations/oauth2/v2.0/token',
    format: 'form',
    auth: 'post',
    success: { ...bearer, expires_in: 3599, ext_expires_in: 3599, scope: 'User.Read Mail.Send' },
    extracted: { expiresInSeconds: 3599, scope: 'User.Read Mail.Send' },
    failures: [
      [
        400,
        error('invalid_grant', 'AADSTS700082: The refresh token has expired due to inactivity.'),
        'permanent',
        'invalid_grant',
      ],
      [
        400,
        error('invalid_grant', 'AADSTS50173: The provided grant has expired'),
        'permanent',
        'invalid_grant',
      ],
      [
        400,
        error('interaction_required', 'AADSTS50076: you must use multi-factor authentication'),
        'permanent',
        'interaction_required',
      ],
      [
        401,
        error('invalid_client', 'AADSTS7000222: The provided client secret keys are expired.'),
        'misconfigured',
        'invalid_client',
      ],
      // Whatever OAuth error stands beside it.
      [
        400,
        error('invalid_grant', 'AADSTS7000222: The provided client secret keys are expired.'),
        'misconfigured',
        'invalid_grant',
      ],
      [
        400,
        error('invalid_grant', 'AADSTS50196: encountered a client request loop'),
        'rate_limited',
        'invalid_grant',
      ],
      [400, error('temporarily_unavailable'), 'transient', 'temporarily_unavailable'],
      [
        400,
        error('invalid_grant', 'AADSTS90033: a transient error has occurred'),
        'transient',
        'invalid_grant',
      ],
      // One customer's tenant, not the app.
      [400, error('invalid_request', 'AADSTS90002: Tenant x'), 'transient', 'invalid_request'],
      [
        400,
        error('unauthorized_client', 'AADSTS700016: application not found'),
        'misconfigured',
        'unauthorized_client',
      ],
      [
        400,
        { ...error('invalid_grant', 'AADSTS65001'), suberror: 'consent_required' },
        'permanent',
        'invalid_grant',
      ],
    ],
  },
  notion: {
    url: 'https://api.notion.com/v1/oauth/token',
    sent: { headers: { 'notion-version': '2026-03-11' } },
    format: 'json',
    auth: 'basic',
    success: {
      ...bearer,
      bot_id: 'b',
      workspace_id: 'w',
      workspace_name: 'Acme',
      owner: { workspace: true },
    },
    extracted: {
      expiresInSeconds: null,
      metadata: { workspace_id: 'w', workspace_name: 'Acme', bot_id: 'b' },
    },
    failures: [
      invalidGrant,
      [
        400,
        { object: 'error', status: 400, code: 'invalid_grant', message: 'revoked' },
        'permanent',
        'invalid_grant',
      ],
      [
        400,
        { object: 'error', status: 400, code: 'missing_version', message: 'x' },
        'misconfigured',
        'http_400',
      ],
      [401, error('invalid_client'), 'misconfigured', 'invalid_client'],
      [
        429,
        { object: 'error', status: 429, code: 'rate_limited', message: 'x' },
        'rate_limited',
        'http_429',
      ],
      [503, { object: 'error', status: 503, code: 'service_unavailable' }, 'transient', 'http_503'],
    ],
  },
  okta: {
    variables: { domain: 'acme.okta.com' },
    url: 'https://acme.okta.com/oauth2/v1/token',
    format: 'form',
    auth: 'basic',
    success: { ...bearer, expires_in: 3600, scope: 'offline_access okta.users.read' },
    extracted: { expiresInSeconds: 3600, scope: 'offline_access okta.users.read' },
    failures: [
      [
        400,
        error('invalid_grant', 'The refresh token is invalid or expired.'),
        'permanent',
        'invalid_grant',
      ],
      [401, error('invalid_client'), 'misconfigured', 'invalid_client'],
      [429, { errorCode: 'E0000047' }, 'rate_limited', 'http_429'],
    ],
  },
  quickbooks: {
    url: 'https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer',
    format: 'form',
    auth: 'basic',
    success: { ...bearer, expires_in: 3600, x_refresh_token_expires_in: 8726400 },
    extracted: { expiresInSeconds: 3600, refreshExpiresInSeconds: 8726400 },
    failures: [
      [
        400,
        error('invalid_grant', 'Incorrect or invalid refresh token'),
        'permanent',
        'invalid_grant',
      ],
      [401, error('invalid_client'), 'misconfigured', 'invalid_client'],
    ],
  },
  salesforce: {
    variables: { domain: 'acme.my.salesforce.com' },
    url: 'https://acme.my.salesforce.com/services/oauth2/token',
    format: 'form',
    auth: 'post',
    success: {
      access_token: 'at-2',
      token_type: 'Bearer',
      instance_url: 'https://acme.my.salesforce.com',
      id: 'https://login.salesforce.com/id/1/2',
      issued_at: '1700000000000',
    },
    extracted: {
      refreshToken: null,
      expiresInSeconds: null,
      metadata: {
        instance_url: 'https://acme.my.salesforce.com',
        id: 'https://login.salesforce.com/id/1/2',
      },
    },
    failures: [
      [
        400,
        error('invalid_grant', 'token request is already being processed'),
        'transient',
        'invalid_grant',
      ],
      [400, error('invalid_grant', 'inactive user'), 'permanent', 'invalid_grant'],
      [400, error('invalid_grant', 'inactive organization'), 'permanent', 'invalid_grant'],
      [400, error('invalid_grant', 'expired access/refresh token'), 'permanent', 'invalid_grant'],
      [400, error('inactive_user'), 'permanent', 'inactive_user'],
      [400, error('invalid_client_id'), 'misconfigured', 'invalid_client_id'],
      [400, error('rate_limit_exceeded'), 'rate_limited', 'rate_limit_exceeded'],
    ],
  },
  slack: {
    url: 'https://slack.com/api/oauth.v2.access',
    format: 'form',
    auth: 'post',
    success: {
      ok: true,
      ...bearer,
      expires_in: 43200,
      scope: 'chat:write,users:read',
      team: { id: 'T1' },
      bot_user_id: 'U1',
    },
    extracted: {
      expiresInSeconds: 43200,
      scope: 'chat:write users:read',
      metadata: { team_id: 'T1', bot_user_id: 'U1' },
    },
    failures: [
      [200, { ok: false, error: 'invalid_refresh_token' }, 'permanent', 'invalid_refresh_token'],
      [200, { ok: false, error: 'fatal_error' }, 'ambiguous', 'fatal_error'],
      [200, { ok: false, error: 'internal_error' }, 'ambiguous', 'internal_error'],
      [200, { ok: false, error: 'token_revoked' }, 'permanent', 'token_revoked'],
      [200, { ok: false, error: 'service_unavailable' }, 'transient', 'service_unavailable'],
      [200, { ok: false, error: 'bad_client_secret' }, 'misconfigured', 'bad_client_secret'],
      [200, { ok: false, error: 'new_error' }, 'protocol_break', 'new_error'],
      [200, { ok: false, ...bearer }, 'protocol_break', 'http_200'],
      [429, { ok: false, error: 'ratelimited' }, 'rate_limited', 'ratelimited'],
    ],
  },
  xero: {
    url: 'https://identity.xero.com/connect/token',
    format: 'form',
    auth: 'basic',
    success: { ...bearer, expires_in: 1800, scope: 'accounting.transactions offline_access' },
    extracted: { expiresInSeconds: 1800, scope: 'accounting.transactions offline_access' },
    failures: [invalidGrant, [400, error('invalid_client'), 'misconfigured', 'invalid_client']],
  },
  zendesk: {
    variables: { subdomain: 'acme' },
    url: 'https://acme.zendesk.com/oauth/tokens',
    sent: { params: { expires_in: 1800 } },
    format: 'json',
    auth: 'post',
    success: {
      ...bearer,
      scope: 'tickets:read',
      expires_in: 1800,
      refresh_token_expires_in: 2592000,
    },
    extracted: { expiresInSeconds: 1800, refreshExpiresInSeconds: 2592000, scope: 'tickets:read' },
    failures: [invalidGrant, [401, error('invalid_client'), 'misconfigured', 'invalid_client']],
  },
  zoho: {
    variables: { accounts_host: 'accounts.zoho.eu' },
    url: 'https://accounts.zoho.eu/oauth/v2/token',
    format: 'form',
    auth: 'post',
    success: {
      access_token: 'at-2',
      token_type: 'Bearer',
      expires_in: 3600,
      scope: 'ZohoCRM.modules.READ',
      api_domain: 'https://www.zohoapis.eu',
    },
    extracted: {
      refreshToken: null,
      expiresInSeconds: 3600,
      scope: 'ZohoCRM.modules.READ',
      metadata: { api_domain: 'https://www.zohoapis.eu' },
    },
    failures: [
      [200, error('invalid_code'), 'permanent', 'invalid_code'],
      [200, error('invalid_client'), 'misconfigured', 'invalid_client'],
      [200, error('invalid_client_secret'), 'misconfigured', 'invalid_client_secret'],
      // More than ten a refresh token in ten minutes; the code alone says nothing of it.
      [
        400,
        {
          error: 'Access Denied',
          error_description:
            'You have made too many requests continuously. Please try again after some time.',
          status: 'failure',
        },
        'rate_limited',
        'http_400',
      ],
    ],
  },
  zoom: {
    url: 'https://zoom.us/oauth/token',
    format: 'form',
    auth: 'basic',
    success: { ...bearer, expires_in: 3599, scope: 'user:read:user' },
    extracted: { expiresInSeconds: 3599, scope: 'user:read:user' },
    failures: [
      [400, { reason: 'Invalid Token!', error: 'invalid_grant' }, 'permanent', 'invalid_grant'],
      [400, { reason: 'Invalid Token!', error: 'invalid_request' }, 'permanent', 'invalid_request'],
      [401, { reason: 'Invalid Token!' }, 'permanent', 'http_401'],
      [
        400,
        { reason: 'Refresh token invalid. (4,711)', error: 'invalid_request' },
        'permanent',
        'invalid_request',
      ],
      [
        400,
        { reason: 'Invalid client_id or client_secret', error: 'invalid_client' },
        'misconfigured',
        'invalid_client',
      ],
      [400, { reason: 'Invalid client secret. (4,704)' }, 'misconfigured', 'http_400'],
      [400, { reason: 'The app has been disabled (4,717)' }, 'misconfigured', 'http_400'],
      [
        400,
        { reason: 'unexpected (4700)', error: 'invalid_request' },
        'transient',
        'invalid_request',
      ],
    ],
  },
};

const builtIn = loadBuiltInProviders();
const catalogue = createProviderCatalogue({ builtIn });
const now = new Date('2026-11-23T12:00:00Z');

describe('the answers that providers document', () => {
  it('are sampled for every provider of the catalogue', () => {
    const named = catalogue.names().filter((name) => name !== 'demo' && name !== 'generic');
    expect(Object.keys(samples)).toEqual(named);
  });

  describe.each(Object.entries(samples))('%s', (provider, sample) => {
    const definition = catalogue.resolve(provider, {});
    const { variables = {} } = sample;

    it('is asked at its URL, with its body format and its way to name the client', async () => {
      catalogue.checkVariables(provider, {}, variables);
      const url = renderUrl(definition.tokenUrl, variables);
      expect(url?.href).toBe(sample.url);
      const request = await buildTokenRequest(
        {
          definition,
          variables,
          clientId: 'client-1',
          clientSecret: new Secret('secret-1'),
          ...noKeys,
          credential: new Secret('rt-1'),
          scope: 'a b',
        },
        new URL(sample.url),
        { wallMs: () => 0, randomUuid: () => 'uuid-1' },
      );
      const { headers = {}, body = '' } = request ?? {};
      const params: unknown =
        sample.format === 'json'
          ? JSON.parse(body ?? '')
          : Object.fromEntries(new URLSearchParams(body ?? ''));
      expect(params).toEqual({
        grant_type: 'refresh_token',
        refresh_token: 'rt-1',
        ...(sample.auth === 'post' ? { client_id: 'client-1', client_secret: 'secret-1' } : {}),
        ...sample.sent?.params,
      });
      expect(headers).toMatchObject(sample.sent?.headers ?? {});
      expect('authorization' in headers).toBe(sample.auth === 'basic');
    });

    it('has its tokens read', () => {
      const answer = answerOf(sample.success);
      const tokens = extractTokens(definition, answer);
      expect(judgeAnswer(definition, answer, tokens, now, [])).toMatchObject({ kind: 'success' });
      expect({
        accessToken: tokens?.accessToken?.reveal(),
        refreshToken: tokens?.refreshToken?.reveal() ?? null,
        expiresInSeconds: tokens?.expiresInSeconds,
        refreshExpiresInSeconds: tokens?.refreshExpiresInSeconds,
        scope: tokens?.scope,
        metadata: tokens?.metadata,
        warnings: tokens?.warnings,
      }).toEqual({
        accessToken: 'at-2',
        refreshToken: 'rt-2',
        refreshExpiresInSeconds: null,
        scope: null,
        metadata: {},
        warnings: [],
        ...sample.extracted,
      });
    });

    it.each(sample.failures)('%i %j is %s', (status, body, expected, code) => {
      const answer = answerOf(body, { status });
      const tokens = extractTokens(definition, answer);
      const judgement = judgeAnswer(definition, answer, tokens, now, []);
      expect(judgement).toMatchObject({ kind: 'failure', class: expected, code });
    });
  });
});

describe('why the customer is needed again', () => {
  it.each<[string, object, string]>([
    ['google', { ...error('invalid_grant'), error_subtype: 'invalid_rapt' }, 'refused'],
    ['google', error('invalid_grant', 'Token has been expired or revoked.'), 'revoked'],
    ['microsoft', { ...error('invalid_grant'), suberror: 'consent_required' }, 'refused'],
    ['microsoft', { ...error('invalid_grant'), suberror: 'bad_token' }, 'revoked'],
    ['microsoft', error('interaction_required'), 'refused'],
    ['slack', { ok: false, error: 'token_expired' }, 'expired'],
  ])('%s: %j is %s', (provider, body, reason) => {
    const definition = catalogue.resolve(provider, {});
    const answer = answerOf(body, { status: provider === 'slack' ? 200 : 400 });
    expect(
      judgeAnswer(definition, answer, extractTokens(definition, answer), now, []),
    ).toMatchObject({ class: 'permanent', reason });
  });
});

describe('definitions of one provider for many hosts', () => {
  it.each([
    ['okta', { domain: 'acme.okta.com.evil.example' }],
    ['okta', { domain: 'evil.example' }],
    ['auth0', { domain: 'evil.example/.auth0.com' }],
    ['zendesk', { subdomain: 'evil.example/' }],
    ['zoho', { accounts_host: 'accounts.zoho.evil.example' }],
    ['zoho', { accounts_host: 'accounts-zoho.com' }],
    ['microsoft', { tenant: '../evil' }],
    ['gitlab', { redirect_uri: 'no uri' }],
  ])('%s refuses %j', (provider, variables) => {
    expect(() => {
      catalogue.checkVariables(provider, {}, variables);
    }).toThrow(expect.objectContaining({ code: 'input_validation' }));
  });

  it('an app can fix what the connections would name', () => {
    const overrides = { request: { params: { redirect_uri: 'https://app.example.com/cb' } } };
    expect(() => {
      catalogue.checkVariables('gitlab', overrides, {});
    }).not.toThrow();
  });

  it('an app of Auth0 with an overlap period is of class T', () => {
    const overrides = { rotation: { class: 'T', grace_seconds: 60 } };
    expect(catalogue.describe('auth0', {}).rotationClass).toBe('F');
    expect(catalogue.describe('auth0', overrides).rotationClass).toBe('T');
  });
});
