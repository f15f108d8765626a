import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { convertNango } from '../../../cli/providers/convert-nango.ts';
import { lintProviders } from '../../../cli/providers/lint-providers.ts';

/** Written by hand, of providers that do not exist. */
const file = `
plain:
    display_name: Plain
    auth_mode: OAUTH2
    authorization_url: https://plain.example.com/authorize
    token_url: https://plain.example.com/token
    refresh_params:
        grant_type: refresh_token
    docs: https://plain.example.com/docs
hosted:
    auth_mode: OAUTH2
    token_url: https://\${connectionConfig.subDomain}.example.com/token
    refresh_url: https://\${connectionConfig.region}.example.com/refresh
    token_request_auth_method: basic
    body_format: json
    scope_separator: ','
    token_response_metadata:
        - instance_url
        - team.id
    connection_config:
        subDomain:
            type: string
            pattern: '[a-z]+'
    refresh_params:
        grant_type: refresh_token
        extra: fixed
        secret: \${credentials.clientSecret}
    token_expiration_buffer: 60
machine:
    auth_mode: OAUTH2_CC
    token_url: https://machine.example.com/token
    token_params:
        grant_type: client_credentials
        audience: https://api.example.com
    expires_in_unit: milliseconds
hosted-eu:
    alias: hosted
    token_url: https://eu.example.com/token
keyed:
    auth_mode: API_KEY
several:
    auth_mode: OAUTH2
    token_url:
        OAUTH2: https://several.example.com/token
computed:
    auth_mode: OAUTH2
    token_url: https://\${connectionConfig.host||api}.example.com/token
`;

const converted = new Map(convertNango(parse(file)).map((each) => [each.name, each]));
const definitionOf = (name: string) => converted.get(name)?.definition;
const notesOf = (name: string) => converted.get(name)?.notes.join('\n') ?? '';

describe('a providers file', () => {
  it('becomes definitions with the same endpoints, authentication and parameters', () => {
    expect(definitionOf('plain')).toEqual({
      display_name: 'Plain',
      docs: ['https://plain.example.com/docs'],
      token_url: 'https://plain.example.com/token',
      client_auth: 'post',
    });
    expect(definitionOf('hosted')).toEqual({
      token_url: 'https://${sub_domain}.example.com/token',
      refresh_url: 'https://${region}.example.com/refresh',
      variables: {
        sub_domain: { pattern: '^(?:[a-z]+)$' },
        region: { pattern: '^[A-Za-z0-9.-]{1,255}$' },
      },
      client_auth: 'basic',
      request: { body_format: 'json', params: { extra: 'fixed' } },
      response: {
        metadata: [
          { name: 'instance_url', pointer: '/instance_url' },
          { name: 'id', pointer: '/team/id' },
        ],
      },
      scope: { separator: ',' },
    });
    expect(definitionOf('machine')).toMatchObject({
      credential: 'client',
      rotation: { class: 'S' },
      request: { params: { audience: 'https://api.example.com' } },
      response: { expires_in: { pointer: '/expires_in', unit: 'milliseconds' } },
    });
  });

  it('has its aliases followed', () => {
    expect(definitionOf('hosted-eu')).toMatchObject({
      token_url: 'https://eu.example.com/token',
      client_auth: 'basic',
    });
  });

  it('has told what it could not express', () => {
    expect(notesOf('plain')).toBe(
      'the rotation class is not in the file: F, the strictest, until you name another',
    );
    expect(notesOf('hosted')).toContain('token_expiration_buffer is not converted');
    expect(notesOf('hosted')).toContain(
      'the parameter secret is made of ${credentials.clientSecret}',
    );
    expect(notesOf('hosted')).toContain('the variable region has no pattern');
    expect(definitionOf('keyed')).toBeUndefined();
    expect(notesOf('keyed')).toContain('auth_mode API_KEY');
    expect(definitionOf('several')).toBeUndefined();
  });

  it('that is none is refused', () => {
    expect(() => convertNango(['a'])).toThrow('does not hold providers');
  });
});

describe('the lint', () => {
  it('takes what was converted', () => {
    for (const name of ['plain', 'hosted', 'machine', 'hosted-eu']) {
      expect([name, lintProviders({ [name]: definitionOf(name) }).faults]).toEqual([name, []]);
    }
  });

  it('finds every fault of every definition, by pointer', () => {
    const { faults } = lintProviders({
      computed: definitionOf('computed'),
      odd: { token_url: 'https://a.example.com/', client_auth: 'magic', nothing: 1 },
      fine: { token_url: 'https://a.example.com/' },
    });
    expect(faults.join('\n')).toMatch(/^\/computed\/token_url: /m);
    expect(faults.join('\n')).toMatch(/^\/odd\/client_auth: /m);
    expect(faults.join('\n')).toMatch(/^\/odd\/nothing: /m);
    expect(faults.join('\n')).not.toContain('fine');
  });

  it('warns of a grace too short for a crash', () => {
    const rotation = { class: 'T', grace_seconds: 5 };
    const { warnings } = lintProviders({ a: { token_url: 'https://a.example.com/', rotation } });
    expect(warnings).toEqual([expect.stringContaining('too short')]);
  });
});
