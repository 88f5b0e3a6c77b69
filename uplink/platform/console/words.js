// Chinese and English words of the console; nothing else knows a language.
const WORDS = {
  zh: {
    title: "巡查案件台", candidates: "含候选", language: "English", all_states: "全部状态", all_kinds: "全部类别",
    candidate: "候选", open: "待处置", monitoring: "观察中", resolved: "已消除", reopened: "复发", withdrawn: "已撤回", rejected: "已驳回", merged: "已合并",
    illegal_parking: "机动车乱停放", illegal_parking_bike: "非机动车乱停放", fire_lane_blocked: "占用消防通道", accessible_path_blocked: "占用无障碍通道",
    street_vending: "无照经营游商", shop_spill_out: "店外经营", road_vending: "占道经营", exposed_garbage: "暴露垃圾", bin_overflow: "垃圾满溢", road_damage: "道路破损",
    manhole_damage: "井盖异常", guardrail_damage: "护栏异常", sign_damage: "标志牌异常", pole_damage: "立杆异常", lamp_damage: "路灯异常", bin_damage: "垃圾箱异常",
    cases: "件案件", devices: "台设备", broken: "连接中断，正在重试…", empty: "暂无案件", no_picture: "无图片", awaiting: "图片传输中",
    close_up: "近景", context: "全景", gone: "消除后", close: "关闭",
    why: "立案原因", place: "位置", facts: "案件", numbers: "可信度", history: "经过", pictures: "证据图片",
    id: "案件编号", code: "事项代码", state: "状态", position: "坐标", ellipse: "95% 误差椭圆", grid: "单元网格", zone: "区域", component: "管理部件", runner_up: "次选部件",
    budget: "误差构成", first_seen: "首次发现", last_seen: "最近发现", clear_look: "最近查无", passes: "经过次数", vehicle: "车辆", grade: "证据等级",
    existence: "存在概率", confidence: "检测置信度", revision: "版本", not_canonical: "（基于旧版本）",
    changes: { candidate: "列为候选", opened: "立案", updated: "更新", evidence: "补充证据", resolved: "消除", reopened: "复发", withdrawn: "撤回", "merged into": "合并", rejected: "驳回" },
  },
  en: {
    title: "Patrol cases", candidates: "with candidates", language: "中文", all_states: "All states", all_kinds: "All kinds",
    candidate: "candidate", open: "open", monitoring: "monitoring", resolved: "resolved", reopened: "reopened", withdrawn: "withdrawn", rejected: "rejected", merged: "merged",
    cases: "cases", devices: "devices", broken: "Connection lost, trying again…", empty: "No cases yet", no_picture: "no picture", awaiting: "on its way",
    close_up: "Close-up", context: "Context", gone: "Gone", close: "Close",
    why: "Why it was filed", place: "Place", facts: "Case", numbers: "How sure", history: "History", pictures: "Evidence",
    id: "Case", code: "Code", state: "State", position: "Position", ellipse: "95 % ellipse", grid: "Unit grid", zone: "Zone", component: "Component", runner_up: "Runner-up",
    budget: "Error budget", first_seen: "First seen", last_seen: "Last seen", clear_look: "Last clear look", passes: "Passes", vehicle: "Vehicle", grade: "Evidence grade",
    existence: "Existence", confidence: "Confidence", revision: "revision", not_canonical: " (made from an older state)",
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

/** Local time of an ISO text, to the second; a dash when there is none. */
export function timeText(iso) {
  return iso ? new Date(iso).toLocaleString(language === "zh" ? "zh-CN" : "en-GB", { hour12: false }) : "–";
}
