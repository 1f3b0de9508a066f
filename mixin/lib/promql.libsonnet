// SPDX-License-Identifier: Apache-2.0

// What rules and alerts need to write PromQL.
{
  local unit = { s: 1, m: 60, h: 3600, d: 86400 },

  // seconds reads a duration of one unit: '5m', '30d'.
  seconds(duration)::
    std.parseInt(std.substr(duration, 0, std.length(duration) - 1)) * unit[duration[std.length(duration) - 1]],

  // duration writes seconds in the largest unit that holds them without a rest: 300 is '5m'.
  duration(number)::
    local fitting = [name for name in ['d', 'h', 'm', 's'] if number % unit[name] == 0];
    '%d%s' % [number / unit[fitting[0]], fitting[0]],

  // selector makes one of matchers, of which those that are empty don't count: '{a="b",c="d"}', or ''
  // if there are none.
  selector(matchers)::
    local given = [matcher for matcher in matchers if matcher != ''];
    if given == [] then '' else '{%s}' % std.join(',', given),
}
