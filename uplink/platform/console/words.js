// Chinese and English words of the console; nothing else knows a language.
const WORDS = {
  zh: {
    title: "巡查案件台", language: "English", all_states: "全部立案", all_kinds: "全部类别", skip: "跳到案件列表",
    candidate: "候选", open: "待处置", monitoring: "观察中", resolved: "已消除", reopened: "复发", withdrawn: "已撤回", rejected: "已驳回", merged: "已合并",
    illegal_parking: "机动车乱停放", illegal_parking_bike: "非机动车乱停放", fire_lane_blocked: "占用消防通道", accessible_path_blocked: "占用无障碍通道",
    street_vending: "无照经营游商", road_vending: "占道经营", shop_spill_out: "店外经营", exposed_garbage: "暴露垃圾", bin_overflow: "垃圾满溢", road_damage: "道路破损",
    manhole_damage: "井盖异常", guardrail_damage: "护栏异常", sign_damage: "标志牌异常", pole_damage: "立杆异常", lamp_damage: "路灯异常", bin_damage: "垃圾箱异常",
    cases: "件案件", devices: "台设备", broken: "连接中断，正在重试…", empty: "没有符合条件的案件", no_picture: "无图片", awaiting: "图片传输中", of_all: "共",
    close_up: "近景", context: "全景", gone: "消除后", close: "关闭", list: "案件列表", map: "地图", layers: "图层", ellipses: "误差椭圆", grids: "单元网格", tracks: "车辆轨迹",
    why: "立案原因", place: "位置", facts: "案件", numbers: "可信度", history: "经过", pictures: "证据图片", filters: "筛选", seen_in: "发现时间", least_confidence: "最低置信度",
    day: "24 小时内", week: "7 天内", month: "30 天内", ever: "不限", reset: "清除筛选", zoom_in: "放大", zoom_out: "缩小", show_all: "显示全部", panes: "视图", case_page: "案件详情", keys: "快捷键",
    id: "案件编号", code: "事项代码", kind: "类别", state: "状态", position: "坐标", ellipse: "95% 误差椭圆", grid: "单元网格", zone: "区域", component: "管理部件", runner_up: "次选部件",
    budget: "误差构成", first_seen: "首次发现", last_seen: "最近发现", clear_look: "最近查无", passes: "经过次数", vehicle: "车辆", grade: "证据等级", assignee: "承办",
    existence: "存在概率", confidence: "检测置信度", revision: "版本", not_canonical: "（基于旧版本）", register: "部件匹配", no_match: "没有匹配的部件", received: "收到", signed_proven: "签名已验证", signed_unproven: "有签名，未验证",
    gnss_m: "定位（GNSS）", own_m: "观测", site_m: "部件库", other_m: "其他", time: "时间", lead: "线索", pass: "经过", off_centre: "偏离", pass_map: "每次经过测得的位置（十字为融合位置，圈为 95% 椭圆）",
    accept: "受理", reject: "驳回", merge: "合并", split: "拆分", assign: "派遣", close_case: "结案", reopen: "重开", more: "更多", cancel: "取消", confirm: "确定",
    accepted: "已受理", closed: "已结案", reject_title: "驳回案件：原因", note: "备注（可不填）", done: "已完成", stale: "案件刚被更改，已刷新，请再看一次", failed: "没有成功",
    not_there: "现场没有（误检）", wrong_kind: "类别错误", lawful: "合法，不构成问题", duplicate: "重复", not_ours: "非本辖区", poor_evidence: "证据不足", other: "其他",
    ask_assign: "派遣给谁？", ask_merge: "合并到哪个案件编号？", ask_split: "勾选要拆出的经过", select_passes: "请先在“经过”中勾选要拆出的经过",
    login: "登录", token: "访问令牌", login_wrong: "令牌无效", logout: "退出", decided_by: "由", reason: "原因", platform_actor: "平台", into: "合并到", reported_as: "上报编号", from: "拆自",
    key_move: "上一件 / 下一件", key_accept: "受理", key_reject: "驳回（再按 1–7 选原因）", key_close: "结案", key_escape: "关闭详情", key_language: "中文 / English", key_help: "本说明", key_picture: "放大图片",
    changes: { candidate: "列为候选", opened: "立案", updated: "更新", evidence: "补充证据", resolved: "消除", reopened: "复发", withdrawn: "撤回", "merged into": "合并", rejected: "驳回",
      accept: "受理", reject: "驳回", merge: "合并", split: "拆分", assign: "派遣", close: "结案", reopen: "重开" },
  },
  en: {
    title: "Patrol cases", language: "中文", all_states: "All filed", all_kinds: "All kinds", skip: "Skip to the list of cases",
    candidate: "candidate", open: "open", monitoring: "monitoring", resolved: "resolved", reopened: "reopened", withdrawn: "withdrawn", rejected: "rejected", merged: "merged",
    cases: "cases", devices: "devices", broken: "Connection lost, trying again…", empty: "No case fits the filter", no_picture: "no picture", awaiting: "on its way", of_all: "of",
    close_up: "Close-up", context: "Context", gone: "Gone", close: "Close", list: "Cases", map: "Map", layers: "Layers", ellipses: "Error ellipses", grids: "Unit grids", tracks: "Vehicle tracks",
    why: "Why it was filed", place: "Place", facts: "Case", numbers: "How sure", history: "History", pictures: "Evidence", filters: "Filter", seen_in: "Last seen", least_confidence: "Confidence at least",
    day: "within 24 hours", week: "within 7 days", month: "within 30 days", ever: "any time", reset: "Clear filter", zoom_in: "Zoom in", zoom_out: "Zoom out", show_all: "Show all", panes: "Views", case_page: "Case", keys: "Keyboard",
    id: "Case", code: "Code", kind: "Kind", state: "State", position: "Position", ellipse: "95 % ellipse", grid: "Unit grid", zone: "Zone", component: "Component", runner_up: "Runner-up",
    budget: "Error budget", first_seen: "First seen", last_seen: "Last seen", clear_look: "Last clear look", passes: "Passes", vehicle: "Vehicle", grade: "Evidence grade", assignee: "Assigned to",
    existence: "Existence", confidence: "Confidence", revision: "revision", not_canonical: " (made from an older state)", register: "Register match", no_match: "No component of the register fits", received: "received", signed_proven: "signature checked", signed_unproven: "signed, not checked",
    gnss_m: "Positioning (GNSS)", own_m: "Observation", site_m: "Register", other_m: "Other", time: "Time", lead: "lead", pass: "Pass", off_centre: "Off by", pass_map: "Where each pass put it (cross: fused place, ring: 95 % ellipse)",
    accept: "Accept", reject: "Reject", merge: "Merge", split: "Split", assign: "Assign", close_case: "Close case", reopen: "Reopen", more: "More", cancel: "Cancel", confirm: "OK",
    accepted: "accepted", closed: "closed", reject_title: "Reject the case because", note: "Note (optional)", done: "Done", stale: "The case has just changed; look at it once more", failed: "That did not work",
    not_there: "Nothing there (false detection)", wrong_kind: "Another kind of thing", lawful: "Lawful, no problem", duplicate: "Duplicate", not_ours: "Not our area", poor_evidence: "Evidence too poor", other: "Other",
    ask_assign: "Assign to whom?", ask_merge: "Merge into which case id?", ask_split: "Tick the passes to split off", select_passes: "First tick the passes to split off, under Passes",
    login: "Log in", token: "Access token", login_wrong: "Unknown token", logout: "Log out", decided_by: "by", reason: "Reason", platform_actor: "platform", into: "into", reported_as: "reported as", from: "split from",
    key_move: "Previous / next case", key_accept: "Accept", key_reject: "Reject (then 1–7 for the reason)", key_close: "Close case", key_escape: "Close the page", key_language: "中文 / English", key_help: "This help", key_picture: "Enlarge the picture",
    changes: { "merged into": "merged" },
  },
};

let language = localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en");

export function currentLanguage() { return language; }

export function toggleLanguage() {
  language = language === "zh" ? "en" : "zh";
  localStorage.setItem("language", language);
}

function plain(name) { return name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " "); }

/** The word for a key; unknown case kinds are shown as they are. */
export function word(key) { return WORDS[language][key] ?? plain(key); }

export function changeWord(change) { return WORDS[language].changes[change] ?? change; }

/** Local time of an ISO text; a dash when there is none. */
export function timeText(iso) {
  return iso ? new Date(iso).toLocaleString(language === "zh" ? "zh-CN" : "en-GB", { hour12: false }) : "–";
}

/** Shorter, for lists: the day only when it is not today. */
export function shortTime(iso) {
  if (!iso) return "–";
  const time = new Date(iso), locale = language === "zh" ? "zh-CN" : "en-GB";
  const clock = time.toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit", hour12: false });
  if (time.toDateString() === new Date().toDateString()) return clock;
  return `${time.toLocaleDateString(locale, { month: "short", day: "numeric" })} ${clock}`;
}
